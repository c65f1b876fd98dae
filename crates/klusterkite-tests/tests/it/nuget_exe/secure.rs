//! The feed over https, with a certificate of an authority of one's own.

use super::feed::{Feed, PUBLISHER, write_package};

#[test]
fn a_feed_over_https_is_used_once_its_authority_is_trusted() {
    let (feed, authority) = Feed::start_with_tls();
    let nuget = feed.reader("developer");
    let package = write_package(&feed.path("packages"), "Acme.Orders", "1.0.0", &[]);
    let push = ["push", &package, "-Source", "feed", "-ApiKey", PUBLISHER];
    let text = nuget.run(&push).fails_with("CERTIFICATE_VERIFY_FAILED");
    assert!(!text.contains("was pushed"), "{text}");

    nuget.trust(&authority);
    nuget.run(&push).succeeds();
    let found = nuget
        .run(&["search", "orders", "-Source", "feed"])
        .succeeds();
    assert!(found.contains("> Acme.Orders | 1.0.0"), "{found}");
    nuget
        .run(&["install", "Acme.Orders", "-Source", "feed"])
        .succeeds();
    assert!(
        nuget
            .home()
            .join("Acme.Orders.1.0.0/content/version.txt")
            .exists()
    );
    let delete = [
        "delete",
        "Acme.Orders",
        "1.0.0",
        "-Source",
        "feed",
        "-ApiKey",
        PUBLISHER,
    ];
    nuget.run(&delete).succeeds();
    // Every address that the feed told is https: with one that is not, one of these would have failed.
}
