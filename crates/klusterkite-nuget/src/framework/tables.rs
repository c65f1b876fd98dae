//! What NuGet knows about the relations of frameworks.

use super::{Family, FrameworkVersion};

/// A framework by its names, for tables.
pub(super) type Named = (Family, FrameworkVersion, &'static str);

/// Different names of the same framework.
pub(super) const EQUIVALENT: &[(Named, Named)] = &[
    ((Family::Uap, [0; 4], ""), (Family::Uap, [10, 0, 0, 0], "")),
    (
        (Family::Windows, [0; 4], ""),
        (Family::Windows, [8, 0, 0, 0], ""),
    ),
    (
        (Family::Windows, [8, 0, 0, 0], ""),
        (Family::NetCore, [4, 5, 0, 0], ""),
    ),
    (
        (Family::NetCore, [4, 5, 0, 0], ""),
        (Family::WinRt, [4, 5, 0, 0], ""),
    ),
    (
        (Family::NetCore, [0; 4], ""),
        (Family::NetCore, [4, 5, 0, 0], ""),
    ),
    (
        (Family::WinRt, [0; 4], ""),
        (Family::WinRt, [4, 5, 0, 0], ""),
    ),
    (
        (Family::Windows, [8, 1, 0, 0], ""),
        (Family::NetCore, [4, 5, 1, 0], ""),
    ),
    (
        (Family::WindowsPhone, [0; 4], ""),
        (Family::WindowsPhone, [7, 0, 0, 0], ""),
    ),
    (
        (Family::WindowsPhone, [7, 0, 0, 0], ""),
        (Family::Silverlight, [3, 0, 0, 0], "WindowsPhone"),
    ),
    (
        (Family::WindowsPhone, [7, 1, 0, 0], ""),
        (Family::Silverlight, [4, 0, 0, 0], "WindowsPhone71"),
    ),
    (
        (Family::WindowsPhone, [8, 0, 0, 0], ""),
        (Family::Silverlight, [8, 0, 0, 0], "WindowsPhone"),
    ),
    (
        (Family::WindowsPhone, [8, 1, 0, 0], ""),
        (Family::Silverlight, [8, 1, 0, 0], "WindowsPhone"),
    ),
    (
        (Family::WindowsPhoneApp, [0; 4], ""),
        (Family::WindowsPhoneApp, [8, 1, 0, 0], ""),
    ),
    (
        (Family::Tizen, [0; 4], ""),
        (Family::Tizen, [3, 0, 0, 0], ""),
    ),
    ((Family::Dnx, [0; 4], ""), (Family::Dnx, [4, 5, 0, 0], "")),
    (
        (Family::DnxCore, [0; 4], ""),
        (Family::DnxCore, [5, 0, 0, 0], ""),
    ),
    (
        (Family::AspNet, [0; 4], ""),
        (Family::AspNet, [5, 0, 0, 0], ""),
    ),
    (
        (Family::AspNetCore, [0; 4], ""),
        (Family::AspNetCore, [5, 0, 0, 0], ""),
    ),
    (
        (Family::Dnx, [4, 5, 0, 0], ""),
        (Family::AspNet, [5, 0, 0, 0], ""),
    ),
    (
        (Family::DnxCore, [5, 0, 0, 0], ""),
        (Family::AspNetCore, [5, 0, 0, 0], ""),
    ),
];

/// Profiles that make no difference.
pub(super) const EQUIVALENT_PROFILES: &[(Family, &str, &str)] = &[
    (Family::NetFramework, "Client", ""),
    (Family::Silverlight, "WindowsPhone71", "WindowsPhone"),
];

/// Families whose every version has the same version of another: (the larger, the smaller).
pub(super) const SUPERSETS: &[(Family, Family)] = &[
    (Family::Dnx, Family::NetFramework),
    (Family::DnxCore, Family::NetPlatform),
    (Family::NetStandardApp, Family::NetStandard),
];

/// From which version on a family can use what other frameworks, up to which version.
pub(super) const SUPPORTS: &[(Family, FrameworkVersion, Family, FrameworkVersion)] = &[
    (Family::Uap, [0; 4], Family::Windows, [8, 1, 0, 0]),
    (Family::Uap, [0; 4], Family::WindowsPhoneApp, [8, 1, 0, 0]),
    (Family::Uap, [0; 4], Family::NetCore, [5, 0, 0, 0]),
    (Family::Windows, [0; 4], Family::WinRt, [4, 5, 0, 0]),
];

/// From which version on a family can use .NET Standard and its predecessor `dotnet5.x`, up to
/// which versions (major and minor).
pub(super) type Standards = (Family, FrameworkVersion, [u32; 2], Option<[u32; 2]>);

/// The frameworks that can use .NET Standard.
pub(super) const STANDARDS: &[Standards] = &[
    (Family::NetCoreApp, [1, 0, 0, 0], [1, 6], None),
    (Family::NetCoreApp, [1, 1, 0, 0], [1, 7], None),
    (Family::NetCoreApp, [2, 0, 0, 0], [2, 0], None),
    (Family::NetCoreApp, [3, 0, 0, 0], [2, 1], None),
    (Family::NetFramework, [4, 5, 0, 0], [1, 1], Some([5, 2])),
    (Family::NetFramework, [4, 5, 1, 0], [1, 2], Some([5, 3])),
    (Family::NetFramework, [4, 6, 0, 0], [1, 3], Some([5, 4])),
    (Family::NetFramework, [4, 6, 1, 0], [2, 0], Some([5, 5])),
    (Family::NetFramework, [4, 6, 2, 0], [2, 0], Some([5, 6])),
    (Family::NetCore, [4, 5, 0, 0], [1, 1], Some([5, 2])),
    (Family::NetCore, [4, 5, 1, 0], [1, 2], Some([5, 3])),
    (Family::NetCore, [5, 0, 0, 0], [1, 4], Some([5, 5])),
    (Family::Uap, [0; 4], [1, 4], Some([5, 5])),
    (Family::Uap, [10, 0, 15064, 0], [2, 0], None),
    (Family::WindowsPhone, [8, 0, 0, 0], [1, 0], Some([5, 1])),
    (Family::WindowsPhoneApp, [8, 1, 0, 0], [1, 2], Some([5, 3])),
    (Family::DnxCore, [0; 4], [1, 5], Some([5, 6])),
    (Family::Tizen, [3, 0, 0, 0], [1, 6], None),
    (Family::Tizen, [4, 0, 0, 0], [2, 0], None),
    (Family::Tizen, [6, 0, 0, 0], [2, 1], None),
    (Family::MonoAndroid, [0; 4], [2, 1], Some([5, 6])),
    (Family::MonoMac, [0; 4], [2, 1], Some([5, 6])),
    (Family::MonoTouch, [0; 4], [2, 1], Some([5, 6])),
    (Family::XamarinIos, [0; 4], [2, 1], Some([5, 6])),
    (Family::XamarinMac, [0; 4], [2, 1], Some([5, 6])),
    (Family::XamarinTvOs, [0; 4], [2, 1], Some([5, 6])),
    (Family::XamarinWatchOs, [0; 4], [2, 1], Some([5, 6])),
    (Family::XamarinPlayStation3, [0; 4], [2, 0], Some([5, 6])),
    (Family::XamarinPlayStation4, [0; 4], [2, 0], Some([5, 6])),
    (Family::XamarinPlayStationVita, [0; 4], [2, 0], Some([5, 6])),
    (Family::XamarinXbox360, [0; 4], [2, 0], Some([5, 6])),
    (Family::XamarinXboxOne, [0; 4], [2, 0], Some([5, 6])),
];
