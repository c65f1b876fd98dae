//! Enums whose variants are texts on the wire.

/// Declares an enum of codes with the text of each; a text that only a newer release knows becomes `Unknown`.
macro_rules! text_codes {
    ($(#[$enum_doc:meta])* $enum:ident $($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        $(#[$enum_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum $enum {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
            /// A code that only a newer release knows.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        impl $enum {
            /// Lists every code of this release.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the code's text on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Unknown => "unknown",
                }
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

pub(crate) use text_codes;
