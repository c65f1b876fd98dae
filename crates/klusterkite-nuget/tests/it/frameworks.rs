//! What holds for the names of any frameworks, of this world or not.

use klusterkite_nuget::Framework;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const NAMES: &[&str] = &[
    "any",
    "agnostic",
    "dotnet",
    "net",
    "netcoreapp",
    "netstandard",
    "portable",
    "sl",
    "uap",
    "win",
    "wp",
    "wpa",
    "xamarinios",
    ".NETFramework",
    ".NETCoreApp",
];

const ENDINGS: &[&str] = &[
    "",
    "-client",
    "-wp71",
    "-windows",
    "-windows10.0.19041",
    "-net45+win8",
    "-net40+sl4+win8",
    "-profile111",
    "-x+y",
];

/// Texts that look like frameworks, most of which are some.
fn spelling() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        "[0-9]{0,5}",
        "[0-9]{1,2}(\\.[0-9]{1,2}){1,3}",
        "(10|4|5|8)\\.[0-9]"
    ];
    let folder = (select(NAMES), number, select(ENDINGS))
        .prop_map(|(name, number, ending)| format!("{name}{number}{ending}"));
    let full = (
        select(NAMES),
        "[0-9]{1,2}(\\.[0-9]{1,2}){0,4}",
        select(ENDINGS),
    )
        .prop_map(|(name, number, ending)| {
            let profile = ending.trim_start_matches('-');
            format!("{name},Version=v{number},Profile={profile}")
        });
    prop_oneof![folder, full]
}

proptest! {
    #[test]
    fn any_text_is_a_framework_or_an_error(text in any::<String>()) {
        if let Ok(framework) = text.parse::<Framework>() {
            prop_assert!(framework.can_use(&framework));
        }
    }

    #[test]
    fn a_framework_survives_its_own_name(text in spelling()) {
        if let Ok(framework) = text.parse::<Framework>() {
            let short = framework.to_string();
            let again: Framework = short.parse().map_err(|error| {
                TestCaseError::fail(format!("{text} became {short}: {error}"))
            })?;
            prop_assert_eq!(&again, &framework, "{} became {}", text, short);
        }
    }

    #[test]
    fn the_nearest_framework_fits_and_does_not_depend_on_the_order(
        target in spelling(),
        candidates in vec(spelling(), 0..8),
    ) {
        let Ok(target) = target.parse::<Framework>() else { return Ok(()) };
        let mut candidates: Vec<Framework> = candidates
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        let nearest = target.nearest(&candidates).cloned();
        let fits = |candidate: &Framework| target.can_use(candidate);
        prop_assert_eq!(nearest.is_some(), candidates.iter().any(fits));
        prop_assert!(nearest.iter().all(fits));
        candidates.reverse();
        prop_assert_eq!(target.nearest(&candidates), nearest.as_ref());
        candidates.retain(|candidate| Some(candidate) == nearest.as_ref());
        prop_assert_eq!(target.nearest(&candidates), nearest.as_ref());
    }
}
