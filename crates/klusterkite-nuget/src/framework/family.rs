//! The names of frameworks.

/// Which framework, without its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Every framework: what does not depend on one.
    Any,
    /// No framework at all: packages that hold only content.
    Agnostic,
    /// .NET Core 1.0 to 3.1 and .NET 5 and later.
    NetCoreApp,
    /// .NET Standard.
    NetStandard,
    /// .NET Standard for applications, a draft that was dropped.
    NetStandardApp,
    /// `dotnet5.x`, the predecessor of .NET Standard.
    NetPlatform,
    /// .NET Framework.
    NetFramework,
    /// .NET Micro Framework.
    NetMicroFramework,
    /// Silverlight.
    Silverlight,
    /// A portable class library: what several frameworks have in common.
    Portable,
    /// Windows Phone (Silverlight).
    WindowsPhone,
    /// Windows Phone apps.
    WindowsPhoneApp,
    /// Windows Store apps.
    Windows,
    /// ASP.NET 5, a draft.
    AspNet,
    /// ASP.NET Core 5, a draft.
    AspNetCore,
    /// Native C++.
    Native,
    /// Mono on Android.
    MonoAndroid,
    /// Mono on iOS, the older name.
    MonoTouch,
    /// Mono on macOS, the older name.
    MonoMac,
    /// Xamarin.iOS.
    XamarinIos,
    /// Xamarin.Mac.
    XamarinMac,
    /// Xamarin on PlayStation 3.
    XamarinPlayStation3,
    /// Xamarin on PlayStation 4.
    XamarinPlayStation4,
    /// Xamarin on PlayStation Vita.
    XamarinPlayStationVita,
    /// Xamarin.WatchOS.
    XamarinWatchOs,
    /// Xamarin.TVOS.
    XamarinTvOs,
    /// Xamarin on Xbox 360.
    XamarinXbox360,
    /// Xamarin on Xbox One.
    XamarinXboxOne,
    /// DNX, a draft of .NET Core's tools on .NET Framework.
    Dnx,
    /// DNX on .NET Core.
    DnxCore,
    /// Windows Store apps, the name inside .NET.
    NetCore,
    /// Windows Runtime, the oldest name.
    WinRt,
    /// Universal Windows Platform.
    Uap,
    /// Tizen.
    Tizen,
}

/// Family, full name, short name, other full names.
const NAMES: &[(Family, &str, &str, &[&str])] = &[
    (Family::Any, "Any", "any", &[]),
    (Family::Agnostic, "Agnostic", "agnostic", &[]),
    (Family::NetCoreApp, ".NETCoreApp", "netcoreapp", &[]),
    (Family::NetStandard, ".NETStandard", "netstandard", &[]),
    (
        Family::NetStandardApp,
        ".NETStandardApp",
        "netstandardapp",
        &[],
    ),
    (Family::NetPlatform, ".NETPlatform", "dotnet", &[]),
    (
        Family::NetFramework,
        ".NETFramework",
        "net",
        &["NETFramework", ".NET"],
    ),
    (
        Family::NetMicroFramework,
        ".NETMicroFramework",
        "netmf",
        &[],
    ),
    (Family::Silverlight, "Silverlight", "sl", &[]),
    (
        Family::Portable,
        ".NETPortable",
        "portable",
        &["NETPortable"],
    ),
    (Family::WindowsPhone, "WindowsPhone", "wp", &[]),
    (Family::WindowsPhoneApp, "WindowsPhoneApp", "wpa", &[]),
    (Family::Windows, "Windows", "win", &[]),
    (Family::AspNet, "ASP.NET", "aspnet", &[]),
    (Family::AspNetCore, "ASP.NETCore", "aspnetcore", &[]),
    (Family::Native, "native", "native", &[]),
    (Family::MonoAndroid, "MonoAndroid", "monoandroid", &[]),
    (Family::MonoTouch, "MonoTouch", "monotouch", &[]),
    (Family::MonoMac, "MonoMac", "monomac", &[]),
    (Family::XamarinIos, "Xamarin.iOS", "xamarinios", &[]),
    (Family::XamarinMac, "Xamarin.Mac", "xamarinmac", &[]),
    (
        Family::XamarinPlayStation3,
        "Xamarin.PlayStation3",
        "xamarinpsthree",
        &["Xamarin.PlayStationThree", "XamarinPlayStationThree"],
    ),
    (
        Family::XamarinPlayStation4,
        "Xamarin.PlayStation4",
        "xamarinpsfour",
        &["Xamarin.PlayStationFour", "XamarinPlayStationFour"],
    ),
    (
        Family::XamarinPlayStationVita,
        "Xamarin.PlayStationVita",
        "xamarinpsvita",
        &["XamarinPlayStationVita"],
    ),
    (
        Family::XamarinWatchOs,
        "Xamarin.WatchOS",
        "xamarinwatchos",
        &[],
    ),
    (Family::XamarinTvOs, "Xamarin.TVOS", "xamarintvos", &[]),
    (
        Family::XamarinXbox360,
        "Xamarin.Xbox360",
        "xamarinxboxthreesixty",
        &[],
    ),
    (
        Family::XamarinXboxOne,
        "Xamarin.XboxOne",
        "xamarinxboxone",
        &[],
    ),
    (Family::Dnx, "DNX", "dnx", &[]),
    (Family::DnxCore, "DNXCore", "dnxcore", &[]),
    (Family::NetCore, ".NETCore", "netcore", &["NETCore"]),
    (Family::WinRt, "WinRT", "winrt", &[]),
    (Family::Uap, "UAP", "uap", &[]),
    (Family::Tizen, "Tizen", "tizen", &[]),
];

impl Family {
    /// Finds the family that a full or short name stands for; case does not matter.
    pub(super) fn find(name: &str) -> Option<Self> {
        let is_named = |other: &&str| other.eq_ignore_ascii_case(name);
        NAMES
            .iter()
            .find(|(_, full, short, others)| {
                is_named(full) || is_named(short) || others.iter().any(is_named)
            })
            .map(|&(family, ..)| family)
    }

    /// Returns the name that .NET uses, such as `.NETCoreApp`.
    pub fn full_name(self) -> &'static str {
        self.names().0
    }

    /// Returns the name that folders use, such as `netcoreapp`.
    pub fn short_name(self) -> &'static str {
        self.names().1
    }

    fn names(self) -> (&'static str, &'static str) {
        NAMES
            .iter()
            .find(|&&(family, ..)| family == self)
            .map(|&(_, full, short, _)| (full, short))
            .expect("every family is in the table, a test says so")
    }

    /// Tells whether the framework itself comes as packages, so that another one with the same
    /// surface is nearer.
    pub(super) fn is_package_based(self) -> bool {
        matches!(
            self,
            Self::NetCoreApp
                | Self::NetStandard
                | Self::NetStandardApp
                | Self::NetPlatform
                | Self::DnxCore
                | Self::Tizen
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_names_that_find_it() {
        // The last variant's number tells how many there are.
        assert_eq!(NAMES.len(), Family::Tizen as usize + 1);
        for (family, full, short, others) in NAMES {
            assert_eq!(Family::find(full), Some(*family), "{full}");
            assert_eq!(
                Family::find(&short.to_ascii_uppercase()),
                Some(*family),
                "{short}"
            );
            assert_eq!((family.full_name(), family.short_name()), (*full, *short));
            for other in *others {
                assert_eq!(Family::find(other), Some(*family), "{other}");
            }
        }
        assert_eq!(Family::find("nonet"), None);
    }
}
