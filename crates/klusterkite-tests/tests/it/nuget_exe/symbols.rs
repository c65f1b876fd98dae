//! Symbols, which nuget.exe pushes beside their package.

use std::fs;

use super::feed::{Feed, PUBLISHER, READER};

#[test]
fn symbols_are_pushed_with_their_package_unless_told_otherwise() {
    let feed = Feed::start();
    let nuget = feed.reader("publisher");
    for (name, contents) in [("orders.dll", "code"), ("orders.pdb", "lines")] {
        fs::write(nuget.home().join(name), contents).unwrap();
    }
    let (code, lines) = (
        nuget.home().join("orders.dll"),
        nuget.home().join("orders.pdb"),
    );
    let files = [(&*code, "lib/net45"), (&*lines, "lib/net45")];
    let push = |package: &str, option: &[&str]| {
        let push = ["push", package, "-Source", "feed", "-ApiKey", PUBLISHER];
        nuget.run(&[&push[..], option].concat())
    };
    let fetch = |version: &str| {
        let path = format!("v3/flat/acme.orders/{version}/acme.orders.{version}.snupkg");
        let url = feed.url().replace("v3/index.json", &path);
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let mut answer = agent
            .get(url)
            .header("X-NuGet-ApiKey", READER)
            .call()
            .unwrap();
        (
            answer.status().as_u16(),
            answer.body_mut().read_to_vec().unwrap(),
        )
    };

    let package = nuget.pack_with_symbols("Acme.Orders", "1.0.0", &files);
    let symbols = fs::read(package.replace(".nupkg", ".snupkg")).unwrap();
    let text = push(&package, &[]).succeeds();
    assert!(text.contains("Your package was pushed"), "{text}");
    assert!(
        fetch("1.0.0") == (200, symbols),
        "other symbols came back:\n{text}"
    );
    push(&package, &[]).fails_with("409 (package `Acme.Orders` `1.0.0` exists already");
    push(&package, &["-SkipDuplicate"]).succeeds();
    let alone = package.replace(".nupkg", ".snupkg");
    push(&alone, &[]).fails_with("409 (package `Acme.Orders` `1.0.0` has symbols already");

    let without = nuget.pack_with_symbols("Acme.Orders", "1.1.0", &files);
    push(&without, &["-NoSymbols"]).succeeds();
    assert_eq!(fetch("1.1.0").0, 404);
}
