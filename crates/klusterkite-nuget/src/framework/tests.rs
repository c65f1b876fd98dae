use super::*;

fn framework(text: &str) -> Framework {
    text.parse().unwrap()
}

#[test]
fn every_spelling_becomes_the_shortest_folder_name() {
    for (text, short, full) in [
        ("net8.0", "net8.0", ".NETCoreApp,Version=v8.0"),
        ("NET60", "net6.0", ".NETCoreApp,Version=v6.0"),
        ("netcoreapp5.0", "net5.0", ".NETCoreApp,Version=v5.0"),
        (
            ".NETCoreApp,Version=v3.1",
            "netcoreapp3.1",
            ".NETCoreApp,Version=v3.1",
        ),
        (
            ".NETStandard2.0",
            "netstandard2.0",
            ".NETStandard,Version=v2.0",
        ),
        (
            ".NETFramework4.6.1",
            "net461",
            ".NETFramework,Version=v4.6.1",
        ),
        ("net40-full", "net40", ".NETFramework,Version=v4.0"),
        (
            "net40-Client",
            "net40-client",
            ".NETFramework,Version=v4.0,Profile=Client",
        ),
        (
            "net8.0-Windows10.0.19041.0",
            "net8.0-windows10.0.19041",
            ".NETCoreApp,Version=v8.0",
        ),
        (
            "net8.0-android34",
            "net8.0-android34.0",
            ".NETCoreApp,Version=v8.0",
        ),
        ("win8", "win8", "Windows,Version=v8.0"),
        ("dotnet", "dotnet", ".NETPlatform,Version=v5.0"),
        ("dotnet5.4", "dotnet54", ".NETPlatform,Version=v5.4"),
        (
            "portable-win8+net45",
            "portable-net45+win8",
            ".NETPortable,Version=v0.0,Profile=Profile7",
        ),
        (
            ".NETPortable,Version=v4.5,Profile=Profile111",
            "portable-net45+win8+wpa81",
            ".NETPortable,Version=v0.0,Profile=Profile111",
        ),
        ("any", "any", "Any,Version=v0.0"),
    ] {
        let parsed = framework(text);
        assert_eq!(parsed.to_string(), short, "{text}");
        assert_eq!(parsed.full_name(), full, "{text}");
        assert_eq!(framework(short), parsed, "{text} survives its short name");
    }
}

#[test]
fn texts_that_are_no_frameworks_are_refused() {
    let long = format!("portable-{}", "net45+".repeat(1000));
    for text in [
        "",
        "unsupported",
        "xyz",
        "net8.0-",
        "net8.0_windows",
        "net8.0-win-dows",
        "net8.",
        "net99999999999.0",
        "45",
        "portable-",
        "portable-net45+portable-win8",
        ".NETCoreApp,Version=",
        ".NETCoreApp,Version=v8.x",
        ",",
        "nét8.0",
        "any1.0",
        ".NETFramework,Version=v4.0,Profile=a b",
        &long,
    ] {
        assert!(text.parse::<Framework>().is_err(), "{text:?}");
    }
}

#[test]
fn the_item_of_the_nearest_framework_is_chosen() {
    let groups = [
        ("everything", None),
        ("old", Some(".NETStandard2.0")),
        ("new", Some("net6.0")),
        ("new again", Some("net6.0")),
        ("strange", Some("nosuch1.0")),
    ];
    for (target, expected) in [
        ("net8.0", "new"),
        ("net48", "old"),
        ("net20", "everything"),
        ("netstandard2.1", "old"),
    ] {
        let found = framework(target).nearest_of(&groups, |(_, framework)| *framework);
        assert_eq!(found.unwrap().map(|(name, _)| *name), Some(expected));
    }
    let none = framework("net20").nearest_of(&groups[1..], |(_, framework)| *framework);
    assert!(none.unwrap().is_none());
}
