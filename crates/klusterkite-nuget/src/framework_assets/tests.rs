use super::*;

fn select(paths: &[&str], framework: &str, rid: Option<&str>) -> FrameworkAssets {
    let target = AssetTarget {
        framework: &framework.parse().unwrap(),
        rid,
        graph: &RidGraph::portable(),
    };
    let id = "Acme.Orders".parse().unwrap();
    let assets = FrameworkAssets::select(&id, paths.iter().copied(), &target).unwrap();
    let mut reversed = paths.to_vec();
    reversed.reverse();
    let again = FrameworkAssets::select(&id, reversed, &target).unwrap();
    assert_eq!(assets, again, "the order of the paths does not matter");
    assets
}

#[test]
fn only_the_folder_of_the_nearest_framework_is_used() {
    let paths = [
        "lib/net6.0/a.dll",
        "lib/net6.0/b.exe",
        "lib/net6.0/a.xml",
        "lib/net6.0/sub/c.dll",
        "lib/netstandard2.0/old.dll",
        "Lib/NET48/d.dll",
        "lib/nosuch/e.dll",
        "lib/root.dll",
        "a.dll",
    ];
    for (framework, expected) in [
        ("net8.0", vec!["lib/net6.0/a.dll", "lib/net6.0/b.exe"]),
        ("netcoreapp3.1", vec!["lib/netstandard2.0/old.dll"]),
        ("net481", vec!["Lib/NET48/d.dll"]),
        ("net20", vec!["lib/root.dll"]),
        ("netstandard1.0", vec![]),
    ] {
        let assets = select(&paths, framework, None);
        assert_eq!(assets.runtime, expected, "{framework}");
        assert_eq!(assets.compile, expected, "{framework}");
        assert_eq!(assets.is_supported, !expected.is_empty(), "{framework}");
    }
}

#[test]
fn reference_assemblies_are_compiled_against_but_not_run() {
    let paths = [
        "ref/netstandard2.0/a.dll",
        "lib/net6.0/a.dll",
        "lib/net45/_._",
        "ref/net45/_._",
    ];
    let assets = select(&paths, "net8.0", None);
    assert_eq!(assets.compile, ["ref/netstandard2.0/a.dll"]);
    assert_eq!(assets.runtime, ["lib/net6.0/a.dll"]);
    let empty = select(&paths, "net46", None);
    assert!(empty.compile.is_empty() && empty.runtime.is_empty() && empty.is_supported);
}

#[test]
fn a_runtime_s_own_assemblies_win_by_framework_and_then_by_runtime() {
    let paths = [
        "lib/net8.0/a.dll",
        "runtimes/unix/lib/net6.0/a.dll",
        "runtimes/linux-x64/lib/netstandard2.0/a.dll",
        "runtimes/linux/lib/net6.0/a.dll",
        "runtimes/win/lib/net6.0/a.dll",
    ];
    for (framework, rid, expected) in [
        ("net8.0", "linux-x64", "runtimes/linux/lib/net6.0/a.dll"),
        ("net8.0", "osx-arm64", "runtimes/unix/lib/net6.0/a.dll"),
        (
            "net5.0",
            "linux-x64",
            "runtimes/linux-x64/lib/netstandard2.0/a.dll",
        ),
        ("net8.0", "browser-wasm", "lib/net8.0/a.dll"),
        ("net8.0", "ubuntu.22.04-x64", "lib/net8.0/a.dll"),
    ] {
        let assets = select(&paths, framework, Some(rid));
        assert_eq!(assets.runtime, [expected], "{framework} {rid}");
        assert!(assets.runtime_targets.is_empty());
    }
    assert_eq!(
        select(&paths, "net8.0", Some("linux-x64")).compile,
        ["lib/net8.0/a.dll"]
    );
}

#[test]
fn b37_a_package_with_assemblies_and_native_files_keeps_both_with_their_directories() {
    let paths = [
        "lib/net8.0/a.dll",
        "lib/net8.0/de/a.resources.dll",
        "lib/net8.0/fr/a.resources.dll",
        "runtimes/linux-x64/native/liba.so",
        "runtimes/linux-x64/native/deep/libb.so",
    ];
    let assets = select(&paths, "net8.0", Some("linux-x64"));
    assert_eq!(assets.runtime, ["lib/net8.0/a.dll"]);
    // Two files of one name: flattened, the second would overwrite the first.
    let translations = assets.resources.iter().map(|asset| asset.path.as_str());
    assert_eq!(
        translations.collect::<Vec<_>>(),
        [
            "lib/net8.0/de/a.resources.dll",
            "lib/net8.0/fr/a.resources.dll"
        ]
    );
    assert_eq!(
        assets.native,
        [
            "runtimes/linux-x64/native/deep/libb.so",
            "runtimes/linux-x64/native/liba.so"
        ]
    );
}

#[test]
fn native_files_are_those_of_one_folder_with_everything_below() {
    let paths = [
        "runtimes/linux-x64/native/liba.so",
        "runtimes/linux-x64/native/deep/er/libb.so",
        "runtimes/linux/native/libc.so",
        "runtimes/win-x64/native/a.dll",
        "runtimes/linux-x64/nativeassets/net8.0/libd.so",
        "runtimes/linux-musl-x64/native/_._",
    ];
    for (framework, rid, expected) in [
        (
            "net6.0",
            "linux-x64",
            vec![
                "runtimes/linux-x64/native/deep/er/libb.so",
                "runtimes/linux-x64/native/liba.so",
            ],
        ),
        (
            "net8.0",
            "linux-x64",
            vec!["runtimes/linux-x64/nativeassets/net8.0/libd.so"],
        ),
        (
            "net6.0",
            "linux-arm64",
            vec!["runtimes/linux/native/libc.so"],
        ),
        ("net6.0", "linux-musl-x64", vec![]),
        ("net6.0", "osx-x64", vec![]),
    ] {
        let assets = select(&paths, framework, Some(rid));
        assert_eq!(assets.native, expected, "{framework} {rid}");
    }
}

#[test]
fn without_a_runtime_the_files_of_all_runtimes_are_listed() {
    let paths = [
        "lib/net6.0/a.dll",
        "runtimes/win/lib/net6.0/a.dll",
        "runtimes/win/lib/net5.0/old.dll",
        "runtimes/win/lib/net6.0/de/a.resources.dll",
        "runtimes/Linux-x64/native/liba.so",
    ];
    let assets = select(&paths, "net8.0", None);
    assert_eq!(assets.runtime, ["lib/net6.0/a.dll"]);
    assert!(assets.native.is_empty());
    let listed: Vec<String> = assets
        .runtime_targets
        .iter()
        .map(|asset| format!("{:?} {} {}", asset.kind, asset.rid, asset.path))
        .collect();
    assert_eq!(
        listed,
        [
            "Native linux-x64 runtimes/Linux-x64/native/liba.so",
            "Runtime win runtimes/win/lib/net6.0/a.dll",
            "Resource win runtimes/win/lib/net6.0/de/a.resources.dll",
        ]
    );
}

#[test]
fn translations_come_with_their_languages() {
    let paths = [
        "lib/net6.0/a.dll",
        "lib/net6.0/fr/a.resources.dll",
        "lib/net6.0/zh-Hans/a.resources.dll",
        "lib/net6.0/plugins/a.resources.dll",
        "lib/net6.0/fr/readme.txt",
        "lib/net45/de/a.resources.dll",
    ];
    let assets = select(&paths, "net8.0", None);
    let found: Vec<&str> = assets
        .resources
        .iter()
        .map(|resource| resource.locale.as_str())
        .collect();
    assert_eq!(found, ["fr", "zh-Hans"]);
}

#[test]
fn content_is_chosen_by_framework_for_each_language() {
    let paths = [
        "contentFiles/any/any/a.txt",
        "contentFiles/any/net6.0/deep/b.txt",
        "contentFiles/cs/any/c.cs",
        "content/old.txt",
        "content/net48/d.txt",
    ];
    let assets = select(&paths, "net8.0", None);
    let found: Vec<(&str, &str)> = assets
        .content_files
        .iter()
        .map(|asset| (asset.language.as_str(), asset.target.as_str()))
        .collect();
    assert_eq!(found, [("any", "deep/b.txt"), ("cs", "c.cs")]);
    assert_eq!(assets.content, ["content/old.txt"]);
    assert_eq!(
        select(&paths, "net48", None).content,
        ["content/net48/d.txt"]
    );
}

#[test]
fn builds_use_only_files_with_the_name_of_the_package() {
    let paths = [
        "build/Acme.Orders.props",
        "build/acme.orders.targets",
        "build/Other.props",
        "build/net48/Acme.Orders.props",
        "buildTransitive/net6.0/Acme.Orders.targets",
    ];
    let assets = select(&paths, "net8.0", None);
    assert_eq!(
        assets.build,
        ["build/Acme.Orders.props", "build/acme.orders.targets"]
    );
    assert_eq!(
        assets.build_transitive,
        ["buildTransitive/net6.0/Acme.Orders.targets"]
    );
    assert_eq!(
        select(&paths, "net48", None).build,
        ["build/net48/Acme.Orders.props"]
    );
}

#[test]
fn tools_are_chosen_by_framework_and_runtime() {
    let paths = [
        "tools/net6.0/any/tool.dll",
        "tools/net6.0/linux-x64/tool",
        "tools/net48/any/tool.exe",
        "tools/install.ps1",
    ];
    for (rid, expected) in [
        (None, "tools/net6.0/any/tool.dll"),
        (Some("linux-x64"), "tools/net6.0/linux-x64/tool"),
        (Some("win-x64"), "tools/net6.0/any/tool.dll"),
    ] {
        assert_eq!(select(&paths, "net8.0", rid).tools, [expected]);
    }
}

#[test]
fn a_package_without_assemblies_suits_every_framework() {
    assert!(select(&["content/a.txt"], "net8.0", None).is_supported);
    assert!(!select(&["lib/net48/a.dll"], "net8.0", None).is_supported);
    assert!(!select(&["lib/nosuch/a.dll"], "net8.0", None).is_supported);
}

#[test]
fn packages_can_add_runtimes_to_the_graph() {
    let mut graph = RidGraph::portable();
    let json = r##"{"runtimes": {"debian.12-x64": {"#import": ["debian", "linux-x64"]},
        "debian": {"#import": ["linux"]}, "linux-x64": {"#import": ["nosuch"]}}}"##;
    graph.merge(&RidGraph::parse(json).unwrap());
    let target = AssetTarget {
        framework: &"net8.0".parse().unwrap(),
        rid: Some("debian.12-x64"),
        graph: &graph,
    };
    let paths = [
        "runtimes/linux-x64/native/liba.so",
        "runtimes/debian/native/libb.so",
    ];
    let assets = FrameworkAssets::select(&"A".parse().unwrap(), paths, &target).unwrap();
    assert_eq!(assets.native, ["runtimes/debian/native/libb.so"]);
    assert_eq!(
        graph.expand("linux-x64"),
        RidGraph::portable().expand("linux-x64"),
        "what the graph knows already stays"
    );
}

#[test]
fn too_many_folders_are_refused_instead_of_compared() {
    let frameworks: Vec<String> = (0..1000)
        .map(|minor| format!("lib/net8.{minor}/a.dll"))
        .collect();
    let runtimes: Vec<String> = (0..2000)
        .map(|number| format!("runtimes/os{number}/native/a.so"))
        .collect();
    let target = AssetTarget {
        framework: &"net9.0".parse().unwrap(),
        rid: None,
        graph: &RidGraph::portable(),
    };
    for paths in [frameworks, runtimes] {
        let paths = paths.iter().map(String::as_str);
        assert!(FrameworkAssets::select(&"A".parse().unwrap(), paths, &target).is_err());
    }
}
