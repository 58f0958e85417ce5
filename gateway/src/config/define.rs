//! The macro that turns the list of settings into the struct, the defaults, the reader and the reference.

/// Each `key: Type = kind` becomes a field, and the [`Kind`](super::kind::Kind) says its default, its limits and how it is
/// read. Doc comments become the texts of the reference page and of the example file.
macro_rules! settings {
    (
        $(#[doc = $config_doc:literal])*
        config { $($(#[doc = $top_doc:literal])* $top_key:ident: $top_type:ty = $top_kind:expr;)* }
        $(
            $(#[doc = $section_doc:literal])*
            $section:ident: $Section:ident {
                $($(#[doc = $doc:literal])* $key:ident: $type:ty = $kind:expr;)*
            }
        )*
    ) => {
        $(#[doc = $config_doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $($(#[doc = $top_doc])* pub $top_key: $top_type,)*
            $($(#[doc = $section_doc])* pub $section: $Section,)*
        }

        $(
            $(#[doc = $section_doc])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section {
                $($(#[doc = $doc])* pub $key: $type,)*
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $($key: $kind.default,)* }
                }
            }
        )*

        impl Default for Config {
            fn default() -> Self {
                Self { $($top_key: $top_kind.default,)* $($section: $Section::default(),)* }
            }
        }

        impl Config {
            /// Takes every setting out of `reader`, which collects what is wrong.
            pub(super) fn read(reader: &mut Reader<'_>) -> Self {
                Self {
                    $($top_key: reader.value(stringify!($top_key), &$top_kind),)*
                    $($section: $Section {
                        $($key: reader.value(concat!(stringify!($section), ".", stringify!($key)), &$kind),)*
                    },)*
                }
            }
        }

        /// All settings in the order of the reference page; the first section has no name.
        pub fn sections() -> Vec<Section> {
            vec![
                Section {
                    name: "",
                    doc: concat!($($config_doc,)*),
                    settings: vec![$(setting::<$top_type>("", stringify!($top_key), concat!($($top_doc,)*), &$top_kind),)*],
                },
                $(Section {
                    name: stringify!($section),
                    doc: concat!($($section_doc,)*),
                    settings: vec![
                        $(setting::<$type>(stringify!($section), stringify!($key), concat!($($doc,)*), &$kind),)*
                    ],
                },)*
            ]
        }
    };
}
