//! The known differences between this codec and its oracles. Whatever is not in this table fails the tests; so does an
//! entry that no longer occurs.

use codecs::mqtt::ProtocolVersion::{V3_1_1, V5};
use codecs::mqtt::{ProtocolVersion, Rule};

use crate::ours::Lines;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Oracle {
    /// `mqtt-protocol-core`
    Core,
    Rumqttd,
}

/// What was seen to differ.
#[derive(Debug)]
pub(crate) enum Difference {
    /// We refuse, the oracle takes it.
    WeRefuse(Rule),
    /// The oracle refuses with these words what we read as these lines.
    TheyRefuse(Lines, String),
    /// Both take it and read it differently; lines that the other does not have.
    Fields { ours: Lines, only_ours: Lines, only_theirs: Lines },
}

type OneWay = fn(&Difference) -> bool;

#[derive(Debug)]
pub(crate) enum Kind {
    /// We refuse by these rules; the oracles are laxer.
    Laxer(&'static [Rule]),
    /// The oracle refuses or misreads what is legal.
    Mistaken(OneWay),
}

#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) oracles: &'static [Oracle],
    pub(crate) versions: &'static [ProtocolVersion],
    pub(crate) kind: Kind,
    pub(crate) reason: &'static str,
    /// A packet that shows it, for the first oracle and version of the entry.
    pub(crate) example: &'static [u8],
}

impl Known {
    pub(crate) fn explains(&self, oracle: Oracle, version: ProtocolVersion, difference: &Difference) -> bool {
        self.oracles.contains(&oracle)
            && self.versions.contains(&version)
            && match (&self.kind, difference) {
                (Kind::Laxer(rules), Difference::WeRefuse(rule)) => rules.contains(rule),
                (Kind::Laxer(_), _) => false,
                (Kind::Mistaken(_), Difference::WeRefuse(_)) => false,
                (Kind::Mistaken(is_it), difference) => is_it(difference),
            }
    }
}

/// The cap of the list: a new entry must push out an old one, or be argued for here.
pub(crate) const KNOWN_MAX: usize = 24;

use Oracle::{Core, Rumqttd};

pub(crate) const KNOWN: &[Known] = &[
    Known {
        oracles: &[Core, Rumqttd],
        versions: &[V3_1_1, V5],
        kind: Kind::Laxer(&[
            Rule::FixedHeaderFlags,
            Rule::PubRelFlags,
            Rule::SubscribeFlags,
            Rule::UnsubscribeFlags,
            Rule::DisconnectFlags,
            Rule::AuthFlags,
            Rule::DupAtQoS0,
        ]),
        reason: "core's `parse` gets the body only, and rumqttd looks at the type and QoS bits only; MQTT-2.2.2-2 \
                 (3.1.1), MQTT-2.1.3-1 and MQTT-3.3.1-2 want the flags checked",
        example: &[0xC1, 0],
    },
    Known {
        oracles: &[Core, Rumqttd],
        versions: &[V3_1_1, V5],
        kind: Kind::Laxer(&[Rule::NullCharacter, Rule::TopicNullCharacter, Rule::UserPropertyNullCharacter]),
        reason: "neither looks for U+0000 (MQTT-1.5.3-2, in 5.0 MQTT-1.5.4-2)",
        example: b"\x30\x05\0\x03a\0b",
    },
    Known {
        oracles: &[Core, Rumqttd],
        versions: &[V3_1_1, V5],
        kind: Kind::Laxer(&[
            Rule::TopicEmpty,
            Rule::TopicWildcard,
            Rule::WillTopicWildcard,
            Rule::ResponseTopicWildcard,
            Rule::FilterMultiLevelWildcard,
            Rule::FilterSingleLevelWildcard,
            Rule::ShareNameMissing,
            Rule::ShareNameInvalid,
            Rule::NoLocalOnShared,
        ]),
        reason: "both take topics and filters as plain strings and leave section 4.7 and 4.8.2 to their brokers",
        example: b"\x30\x05\0\x03a/+",
    },
    Known {
        oracles: &[Core, Rumqttd],
        versions: &[V3_1_1, V5],
        kind: Kind::Laxer(&[
            Rule::ConnectReservedFlag,
            Rule::WillQoS3,
            Rule::WillQoSWithoutWill,
            Rule::WillRetainWithoutWill,
        ]),
        reason: "the connect flags are not checked against each other (MQTT-3.1.2-3, -11 to -15)",
        example: b"\x10\x0d\0\x04MQTT\x04\x03\0\x3c\0\x01c",
    },
    Known {
        oracles: &[Core, Rumqttd],
        versions: &[V3_1_1, V5],
        kind: Kind::Laxer(&[Rule::ConnAckFlags, Rule::SessionPresentOnFailure]),
        reason: "bit 0 of the CONNACK flags is taken, the rest not looked at (5.0 MQTT-3.2.2-1, -6)",
        example: &[0x20, 2, 2, 0],
    },
    Known {
        oracles: &[Core, Rumqttd],
        versions: &[V3_1_1, V5],
        kind: Kind::Laxer(&[Rule::SubAckPacketIdZero, Rule::AckPacketIdZero, Rule::PacketIdZero]),
        reason: "a packet identifier 0 is refused in some packets only, by core not in SUBACK and UNSUBACK, by rumqttd \
                 only in SUBSCRIBE and PUBLISH",
        example: &[0x90, 3, 0, 0, 0],
    },
    Known {
        oracles: &[Core, Rumqttd],
        versions: &[V5],
        kind: Kind::Laxer(&[Rule::VariableByteIntegerNotMinimal]),
        reason: "a length in more bytes than needed is taken (5.0 MQTT-1.5.5-1)",
        example: &[0x90, 6, 0, 1, 0x80, 0x80, 0, 0],
    },
    Known {
        oracles: &[Core, Rumqttd],
        versions: &[V3_1_1, V5],
        kind: Kind::Laxer(&[Rule::SubscriptionReservedBits]),
        reason: "core reads the options of 5.0 in 3.1.1 too, rumqttd masks the bits it knows (MQTT-3.8.3-4, 5.0 -5)",
        example: b"\x82\x06\0\x01\0\x01a\x04",
    },
    Known {
        oracles: &[Core],
        versions: &[V5],
        kind: Kind::Laxer(&[Rule::PropertyLengthMissing]),
        reason: "a PUBLISH that ends before its Property Length is read as one without properties (MQTT-2.2.2-1)",
        example: b"\x30\x03\0\x01a",
    },
    Known {
        oracles: &[Core],
        versions: &[V3_1_1],
        kind: Kind::Laxer(&[Rule::TrailingBytes]),
        reason: "acknowledgements of 3.1.1 may have one byte too many: the reader is the one of 5.0",
        example: &[0x40, 3, 0, 1, 0],
    },
    Known {
        oracles: &[Core],
        versions: &[V5],
        kind: Kind::Laxer(&[Rule::AuthMethodMissing]),
        reason: "an AUTH with a reason code, but neither properties nor so the Authentication Method, is taken \
                 (5.0 §3.15.2.2.2)",
        example: &[0xF0, 1, 0],
    },
    Known {
        oracles: &[Core],
        versions: &[V5],
        kind: Kind::Mistaken(|difference| match difference {
            Difference::TheyRefuse(ours, error) => {
                error == "ProtocolError"
                    && is(ours, "CONNECT")
                    && has(ours, "user_name=None")
                    && !has(ours, "password=None")
            }
            _ => false,
        }),
        reason: "a password without user name is refused; 5.0 allows it (§3.1.2.9)",
        example: b"\x10\x11\0\x04MQTT\x05\x42\0\x3c\0\0\x01c\0\x01p",
    },
    Known {
        oracles: &[Rumqttd],
        versions: &[V3_1_1, V5],
        kind: Kind::Laxer(&[Rule::TopicUtf8, Rule::WillTopicUtf8]),
        reason: "topics are kept as bytes and not checked for UTF-8 by the reader (MQTT-3.3.2-1)",
        example: b"\x30\x04\0\x02\xc3\x28",
    },
    Known {
        oracles: &[Rumqttd],
        versions: &[V3_1_1, V5],
        kind: Kind::Laxer(&[
            Rule::ConnectTrailingBytes,
            Rule::UserNameWithoutFlag,
            Rule::PasswordWithoutFlag,
            Rule::PasswordWithoutUserName,
            Rule::TrailingBytes,
        ]),
        reason: "what follows the last field is not looked at (MQTT-3.1.4-1), nor is Password Flag without User Name \
                 Flag (3.1.1 MQTT-3.1.2-22)",
        example: &[0xC0, 1, 0],
    },
    Known {
        oracles: &[Rumqttd],
        versions: &[V3_1_1, V5],
        kind: Kind::Laxer(&[Rule::UnsubscribeEmpty]),
        reason: "an UNSUBSCRIBE without filter is taken (MQTT-3.10.3-2)",
        example: &[0xA2, 2, 0, 1],
    },
    Known {
        oracles: &[Rumqttd],
        versions: &[V5],
        kind: Kind::Laxer(&[
            Rule::PropertyTruncated,
            Rule::PropertyUnknown,
            Rule::PropertyNotAllowed,
            Rule::PropertyTwice,
            Rule::PayloadFormatIndicatorRange,
            Rule::RequestProblemInformationRange,
            Rule::RequestResponseInformationRange,
            Rule::ReceiveMaximumZero,
            Rule::MaximumPacketSizeZero,
            Rule::TopicAliasZero,
            Rule::SubscriptionIdentifierZero,
            Rule::AuthenticationDataWithoutMethod,
        ]),
        reason: "properties are counted loosely (a property may reach beyond the Property Length, an identifier in the \
                 middle of one may be taken for the end), and their values are not judged",
        example: &[0x30, 6, 0, 1, b'a', 2, 1, 2],
    },
    Known {
        oracles: &[Rumqttd],
        versions: &[V3_1_1, V5],
        kind: Kind::Mistaken(|difference| match difference {
            Difference::TheyRefuse(ours, error) => {
                (error.starts_with("PayloadNotUtf8") || error == "TopicNotUtf8") && is(ours, "CONNECT")
            }
            _ => false,
        }),
        reason: "a password must be UTF-8 there; both standards say binary data (3.1.1 §3.1.3.5, 5.0 §3.1.3.6)",
        example: b"\x10\x13\0\x04MQTT\x04\xC2\0\x3c\0\x01c\0\x01u\0\x01\xff",
    },
    Known {
        oracles: &[Rumqttd],
        versions: &[V3_1_1, V5],
        kind: Kind::Mistaken(|difference| match difference {
            Difference::Fields { only_ours, only_theirs, .. } => only_ours
                .iter()
                .chain(only_theirs)
                .all(|it| it.starts_with("user_name=") || it.starts_with("password=")),
            _ => false,
        }),
        reason: "an absent user name or password and an empty one are the same there",
        example: b"\x10\x0f\0\x04MQTT\x04\x82\0\x3c\0\x01c\0\0",
    },
    Known {
        oracles: &[Rumqttd],
        versions: &[V5],
        kind: Kind::Mistaken(|difference| match difference {
            Difference::Fields { ours, .. } | Difference::TheyRefuse(ours, _) => {
                is(ours, "PUBLISH") && ours.iter().any(|it| it.starts_with("SubscriptionIdentifier"))
            }
            Difference::WeRefuse(_) => false,
        }),
        reason: "the length of a Subscription Identifier in a PUBLISH is miscounted, so that properties behind it are \
                 taken for payload",
        example: &[0x30, 10, 0, 1, b'a', 6, 11, 1, 11, 2, 1, 1],
    },
    Known {
        oracles: &[Rumqttd],
        versions: &[V5],
        kind: Kind::Mistaken(|difference| match difference {
            Difference::TheyRefuse(ours, error) => {
                (is(ours, "AUTH") && error == "InvalidPacketType(15)")
                    || ((is(ours, "CONNACK") || is(ours, "UNSUBACK")) && error == "panic")
            }
            _ => false,
        }),
        reason: "the reader of 5.0 is a server's: AUTH is not known to it, and it panics at CONNACK and UNSUBACK",
        example: &[0xF0, 0],
    },
    Known {
        oracles: &[Rumqttd],
        versions: &[V5],
        kind: Kind::Mistaken(|difference| match difference {
            Difference::TheyRefuse(ours, error) => is(ours, "DISCONNECT") && error == "InsufficientBytes(1)",
            _ => false,
        }),
        reason: "a DISCONNECT with a reason code and no Property Length is refused; 5.0 §3.14.2.2.1 allows it",
        example: &[0xE0, 1, 4],
    },
];

fn is(lines: &Lines, kind: &str) -> bool {
    has(lines, kind)
}

fn has(lines: &Lines, line: &str) -> bool {
    lines.iter().any(|it| it == line)
}
