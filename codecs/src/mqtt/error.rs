//! What can be wrong with a packet. One table says for every rule which conformance statement it is in either version,
//! which 5.0 reason code answers a breach, and a sentence for the log.

use std::fmt;

use super::packet::ProtocolVersion;
use super::reason::ReasonCode;

/// A packet that breaks the standard. Small, `Copy`, without allocation; the text is made by `Display` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DecodeError {
    rule: Rule,
    version: Option<ProtocolVersion>,
}

impl DecodeError {
    /// A breach found before the version was known (by `frame_len`, or in the first bytes of CONNECT).
    pub(super) const fn versionless(rule: Rule) -> Self {
        Self { rule, version: None }
    }

    pub(super) const fn new(rule: Rule, version: ProtocolVersion) -> Self {
        Self { rule, version: Some(version) }
    }

    pub const fn rule(&self) -> Rule {
        self.rule
    }

    /// The version whose rule was broken; `None` where the breach was found before the version was known.
    pub const fn version(&self) -> Option<ProtocolVersion> {
        self.version
    }

    /// The broken statement that says most, for instance `MQTT-3.3.1-4`, or a section (`5.0 §3.3.2.3.4`) where the
    /// standard gives the rule no number.
    pub fn statement(&self) -> &'static str {
        self.statements().first().copied().unwrap_or_default()
    }

    /// Every statement that the breach concerns, the one that says most first. Never empty.
    pub fn statements(&self) -> &'static [&'static str] {
        match self.version {
            Some(version) => self.rule.statements(version),
            None => self.rule.statements(ProtocolVersion::V5),
        }
    }

    /// What a 5.0 server may say in CONNACK or DISCONNECT before it closes the connection.
    pub const fn reason_code(&self) -> ReasonCode {
        self.rule.reason_code()
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => {
                write!(f, "MQTT {version} [")?;
                write_list(f, self.rule.statements(version))?;
            }
            None => {
                f.write_str("MQTT [3.1.1: ")?;
                write_list(f, self.rule.statements(ProtocolVersion::V3_1_1))?;
                f.write_str("; 5.0: ")?;
                write_list(f, self.rule.statements(ProtocolVersion::V5))?;
            }
        }
        write!(f, "]: {} ({})", self.rule.sentence(), self.reason_code())
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, statements: &[&str]) -> fmt::Result {
    for (index, statement) in statements.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        f.write_str(statement)?;
    }
    Ok(())
}

impl std::error::Error for DecodeError {}

macro_rules! rules {
    ($($name:ident: $code:ident, $v3:expr, $v5:expr, $sentence:literal;)*) => {
        /// A rule of the standard that the bytes of a packet can break. Each value stands for one line of the table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Rule { $($name),* }

        impl Rule {
            /// Every rule, for tables and metrics.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The statements that the rule is in a version; empty where that version has no such rule.
            pub const fn statements(self, version: ProtocolVersion) -> &'static [&'static str] {
                let (v3_1_1, v5): (&'static [&'static str], &'static [&'static str]) = match self {
                    $(Self::$name => (&$v3, &$v5),)*
                };
                match version {
                    ProtocolVersion::V3_1_1 => v3_1_1,
                    ProtocolVersion::V5 => v5,
                }
            }

            pub const fn reason_code(self) -> ReasonCode {
                match self {
                    $(Self::$name => ReasonCode::$code,)*
                }
            }

            /// What was wrong, as a sentence without a full stop.
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$name => $sentence,)*
                }
            }
        }
    };
}

rules! {
    // Fixed header.
    PacketTypeReserved: MALFORMED_PACKET, ["3.1.1 §2.2.1"], ["MQTT-4.13.1-1"],
        "packet type 0 is reserved";
    AuthIn311: MALFORMED_PACKET, ["3.1.1 §2.2.1"], [],
        "packet type 15 is reserved in this version";
    FixedHeaderFlags: MALFORMED_PACKET, ["MQTT-2.2.2-2", "MQTT-2.2.2-1"], ["MQTT-2.1.3-1"],
        "the flags of the first byte are reserved and must have their fixed value";
    PubRelFlags: MALFORMED_PACKET, ["MQTT-3.6.1-1", "MQTT-2.2.2-2"], ["MQTT-3.6.1-1", "MQTT-2.1.3-1"],
        "the flags of a PUBREL must be 0010";
    SubscribeFlags: MALFORMED_PACKET, ["MQTT-3.8.1-1", "MQTT-2.2.2-2"], ["MQTT-3.8.1-1", "MQTT-2.1.3-1"],
        "the flags of a SUBSCRIBE must be 0010";
    UnsubscribeFlags: MALFORMED_PACKET, ["MQTT-3.10.1-1", "MQTT-2.2.2-2"], ["MQTT-3.10.1-1", "MQTT-2.1.3-1"],
        "the flags of an UNSUBSCRIBE must be 0010";
    DisconnectFlags: MALFORMED_PACKET, ["MQTT-3.14.1-1", "MQTT-2.2.2-2"], ["MQTT-3.14.1-1", "MQTT-2.1.3-1"],
        "the flags of a DISCONNECT must be 0000";
    AuthFlags: MALFORMED_PACKET, ["3.1.1 §2.2.1"], ["MQTT-3.15.1-1", "MQTT-2.1.3-1"],
        "the flags of an AUTH must be 0000";
    RemainingLengthTooLong: MALFORMED_PACKET, ["3.1.1 §2.2.3"], ["5.0 §1.5.5"],
        "the Remaining Length has more than four bytes";
    FrameLengthMismatch: MALFORMED_PACKET, ["3.1.1 §2.2.3"], ["5.0 §2.1.4"],
        "the Remaining Length is not the number of bytes that follow it";
    PacketTooLarge: PACKET_TOO_LARGE, ["3.1.1 §2.2.3"], ["5.0 §3.2.2.3.6"],
        "the packet is larger than the Maximum Packet Size of this server";
    VariableByteIntegerNotMinimal: MALFORMED_PACKET, [], ["MQTT-1.5.5-1"],
        "a Variable Byte Integer uses more bytes than it needs";
    VariableByteIntegerTooLong: MALFORMED_PACKET, [], ["5.0 §1.5.5"],
        "a Variable Byte Integer has more than four bytes";

    // Fields of any packet.
    Truncated: MALFORMED_PACKET, ["MQTT-4.8.0-1"], ["MQTT-4.13.1-1"],
        "the packet ends inside a field";
    TrailingBytes: MALFORMED_PACKET, ["MQTT-4.8.0-1"], ["MQTT-4.13.1-1"],
        "bytes follow the last field of the packet";
    Utf8: MALFORMED_PACKET, [], ["MQTT-1.5.4-1"],
        "a string is not well-formed UTF-8";
    NullCharacter: MALFORMED_PACKET, ["MQTT-1.5.3-2"], ["MQTT-1.5.4-2"],
        "a string contains U+0000";
    PacketIdZero: PROTOCOL_ERROR, ["MQTT-2.3.1-1"], ["MQTT-2.2.1-3", "MQTT-2.2.1-4"],
        "the Packet Identifier is 0";
    AckPacketIdZero: PROTOCOL_ERROR, ["MQTT-2.3.1-6"], ["MQTT-2.2.1-5"],
        "the Packet Identifier of an acknowledgement is 0, which no PUBLISH can have had";
    SubAckPacketIdZero: PROTOCOL_ERROR, ["MQTT-2.3.1-7"], ["MQTT-2.2.1-6"],
        "the Packet Identifier of an acknowledgement is 0, which no request can have had";

    // Topic names and filters.
    TopicEmpty: PROTOCOL_ERROR, ["MQTT-4.7.3-1"], ["MQTT-4.7.3-1"],
        "a Topic Name or Topic Filter is empty";
    TopicTooLong: MALFORMED_PACKET, ["MQTT-4.7.3-3"], ["MQTT-4.7.3-3"],
        "a Topic Name or Topic Filter has more than 65,535 bytes";
    TopicNullCharacter: MALFORMED_PACKET, ["MQTT-4.7.3-2", "MQTT-1.5.3-2"], ["MQTT-4.7.3-2", "MQTT-1.5.4-2"],
        "a Topic Name or Topic Filter contains U+0000";
    TopicWildcard: TOPIC_NAME_INVALID, ["MQTT-3.3.2-2", "MQTT-4.7.1-1"], ["MQTT-3.3.2-2", "MQTT-4.7.0-1"],
        "the Topic Name of a PUBLISH contains a wildcard";
    WillTopicWildcard: TOPIC_NAME_INVALID, ["MQTT-4.7.1-1"], ["MQTT-4.7.0-1"],
        "the Will Topic contains a wildcard";
    FilterMultiLevelWildcard: TOPIC_FILTER_INVALID, ["MQTT-4.7.1-2"], ["MQTT-4.7.1-1"],
        "in a Topic Filter '#' must be a level of its own and the last one";
    FilterSingleLevelWildcard: TOPIC_FILTER_INVALID, ["MQTT-4.7.1-3"], ["MQTT-4.7.1-2"],
        "in a Topic Filter '+' must be a level of its own";
    ShareNameMissing: TOPIC_FILTER_INVALID, [], ["MQTT-4.8.2-1"],
        "a shared subscription needs a ShareName of at least one character";
    ShareNameInvalid: TOPIC_FILTER_INVALID, [], ["MQTT-4.8.2-2"],
        "a ShareName has no '+' or '#', and '/' and a Topic Filter follow it";

    // CONNECT.
    ProtocolName: UNSUPPORTED_PROTOCOL_VERSION, ["MQTT-3.1.2-1"], ["MQTT-3.1.2-1"],
        "the Protocol Name of the CONNECT is not \"MQTT\"";
    ProtocolLevel: UNSUPPORTED_PROTOCOL_VERSION, ["MQTT-3.1.2-2"], ["MQTT-3.1.2-2"],
        "the protocol version of the CONNECT is neither 4 (3.1.1) nor 5 (5.0)";
    ConnectReservedFlag: MALFORMED_PACKET, ["MQTT-3.1.2-3"], ["MQTT-3.1.2-3"],
        "the reserved flag of the CONNECT is set";
    ConnectTruncated: MALFORMED_PACKET, ["MQTT-3.1.4-1"], ["MQTT-3.1.4-1"],
        "the CONNECT ends inside a field";
    ConnectTrailingBytes: MALFORMED_PACKET, ["MQTT-3.1.4-1"], ["MQTT-3.1.4-1"],
        "bytes follow the last field of the CONNECT";
    WillFieldsMissing: MALFORMED_PACKET, ["MQTT-3.1.2-9", "MQTT-3.1.4-1"], ["MQTT-3.1.2-9", "MQTT-3.1.4-1"],
        "the Will Flag is set, but the CONNECT ends before the end of the will";
    WillQoSWithoutWill: MALFORMED_PACKET, ["MQTT-3.1.2-13", "MQTT-3.1.2-11"], ["MQTT-3.1.2-11"],
        "the Will QoS is not 0 although the Will Flag is not set";
    WillRetainWithoutWill: MALFORMED_PACKET, ["MQTT-3.1.2-15", "MQTT-3.1.2-11"], ["MQTT-3.1.2-13"],
        "Will Retain is set although the Will Flag is not set";
    WillQoS3: MALFORMED_PACKET, ["MQTT-3.1.2-14"], ["MQTT-3.1.2-12"],
        "the Will QoS is 3";
    UserNameMissing: MALFORMED_PACKET, ["MQTT-3.1.2-19", "MQTT-3.1.4-1"], ["MQTT-3.1.2-17", "MQTT-3.1.4-1"],
        "the User Name Flag is set, but the CONNECT ends before the end of the user name";
    UserNameWithoutFlag: MALFORMED_PACKET,
        ["MQTT-3.1.2-18", "MQTT-3.1.2-11", "MQTT-3.1.4-1"], ["MQTT-3.1.2-16", "MQTT-3.1.4-1"],
        "the User Name Flag is not set, but more bytes follow";
    PasswordMissing: MALFORMED_PACKET, ["MQTT-3.1.2-21", "MQTT-3.1.4-1"], ["MQTT-3.1.2-19", "MQTT-3.1.4-1"],
        "the Password Flag is set, but the CONNECT ends before the end of the password";
    PasswordWithoutFlag: MALFORMED_PACKET, ["MQTT-3.1.2-20", "MQTT-3.1.4-1"], ["MQTT-3.1.2-18", "MQTT-3.1.4-1"],
        "the Password Flag is not set, but more bytes follow";
    PasswordWithoutUserName: MALFORMED_PACKET, ["MQTT-3.1.2-22"], [],
        "the Password Flag is set although the User Name Flag is not";
    ClientIdMissing: MALFORMED_PACKET, ["MQTT-3.1.3-3", "MQTT-3.1.4-1"], ["MQTT-3.1.3-3", "MQTT-3.1.4-1"],
        "the CONNECT ends before the end of the Client Identifier";
    ClientIdUtf8: MALFORMED_PACKET, ["MQTT-3.1.3-4", "MQTT-1.5.3-1"], ["MQTT-3.1.3-4", "MQTT-1.5.4-1"],
        "the Client Identifier is not well-formed UTF-8";
    WillTopicUtf8: MALFORMED_PACKET, ["MQTT-3.1.3-10", "MQTT-1.5.3-1"], ["MQTT-3.1.3-11", "MQTT-1.5.4-1"],
        "the Will Topic is not well-formed UTF-8";
    UserNameUtf8: MALFORMED_PACKET, ["MQTT-3.1.3-11", "MQTT-1.5.3-1"], ["MQTT-3.1.3-12", "MQTT-1.5.4-1"],
        "the User Name is not well-formed UTF-8";

    // CONNACK.
    ConnAckFlags: MALFORMED_PACKET, ["3.1.1 §3.2.2.1"], ["MQTT-3.2.2-1"],
        "the flags of the CONNACK have a reserved bit set";
    SessionPresentOnFailure: PROTOCOL_ERROR, ["MQTT-3.2.2-4"], ["MQTT-3.2.2-6"],
        "the CONNACK refuses the connection and yet says that a session is present";
    ConnAckCode: PROTOCOL_ERROR, ["3.1.1 §3.2.2.3"], ["MQTT-3.2.2-8"],
        "the CONNACK has a code that is not in its table";

    // PUBLISH.
    DupAtQoS0: MALFORMED_PACKET, ["MQTT-3.3.1-2"], ["MQTT-3.3.1-2"],
        "DUP is set in a PUBLISH at QoS 0";
    PublishQoS3: MALFORMED_PACKET, ["MQTT-3.3.1-4"], ["MQTT-3.3.1-4"],
        "both QoS bits of the PUBLISH are set";
    TopicUtf8: MALFORMED_PACKET, ["MQTT-3.3.2-1", "MQTT-1.5.3-1"], ["MQTT-3.3.2-1", "MQTT-1.5.4-1"],
        "the Topic Name is not well-formed UTF-8";

    // Acknowledgements of PUBLISH.
    PubAckCode: PROTOCOL_ERROR, [], ["MQTT-3.4.2-1"],
        "the PUBACK has a reason code that is not in its table";
    PubRecCode: PROTOCOL_ERROR, [], ["MQTT-3.5.2-1"],
        "the PUBREC has a reason code that is not in its table";
    PubRelCode: PROTOCOL_ERROR, [], ["MQTT-3.6.2-1"],
        "the PUBREL has a reason code that is not in its table";
    PubCompCode: PROTOCOL_ERROR, [], ["MQTT-3.7.2-1"],
        "the PUBCOMP has a reason code that is not in its table";

    // SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.
    SubscribeFilterUtf8: MALFORMED_PACKET, ["MQTT-3.8.3-1", "MQTT-1.5.3-1"], ["MQTT-3.8.3-1", "MQTT-1.5.4-1"],
        "a Topic Filter of the SUBSCRIBE is not well-formed UTF-8";
    SubscribeEmpty: PROTOCOL_ERROR, ["MQTT-3.8.3-3"], ["MQTT-3.8.3-2"],
        "the SUBSCRIBE has no Topic Filter";
    SubscriptionReservedBits: MALFORMED_PACKET, ["MQTT-3.8.3-4"], ["MQTT-3.8.3-5"],
        "reserved bits of the Subscription Options are set";
    SubscriptionQoS3: PROTOCOL_ERROR, ["MQTT-3.8.3-4"], ["5.0 §3.8.3.1"],
        "the requested QoS of a subscription is 3";
    RetainHandling3: PROTOCOL_ERROR, [], ["5.0 §3.8.3.1"],
        "the Retain Handling of a subscription is 3";
    NoLocalOnShared: PROTOCOL_ERROR, [], ["MQTT-3.8.3-4"],
        "No Local is set on a shared subscription";
    SubAckCode: PROTOCOL_ERROR, ["MQTT-3.9.3-2"], ["MQTT-3.9.3-2"],
        "the SUBACK has a code that is not in its table";
    SubAckEmpty: PROTOCOL_ERROR, ["MQTT-3.8.4-5"], ["MQTT-3.8.4-6"],
        "the SUBACK has no code";
    UnsubscribeFilterUtf8: MALFORMED_PACKET,
        ["MQTT-3.10.3-1", "MQTT-1.5.3-1"], ["MQTT-3.10.3-1", "MQTT-1.5.4-1"],
        "a Topic Filter of the UNSUBSCRIBE is not well-formed UTF-8";
    UnsubscribeEmpty: PROTOCOL_ERROR, ["MQTT-3.10.3-2"], ["MQTT-3.10.3-2"],
        "the UNSUBSCRIBE has no Topic Filter";
    UnsubAckCode: PROTOCOL_ERROR, [], ["MQTT-3.11.3-2"],
        "the UNSUBACK has a code that is not in its table";
    UnsubAckEmpty: PROTOCOL_ERROR, [], ["MQTT-3.11.3-2"],
        "the UNSUBACK has no code";

    // DISCONNECT and AUTH.
    DisconnectCode: PROTOCOL_ERROR, [], ["MQTT-3.14.2-1"],
        "the DISCONNECT has a reason code that is not in its table";
    AuthCode: PROTOCOL_ERROR, [], ["MQTT-3.15.2-1"],
        "the AUTH has a reason code that is not in its table";
    AuthMethodMissing: PROTOCOL_ERROR, [], ["5.0 §3.15.2.2.2"],
        "the AUTH has no Authentication Method";

    // Properties (5.0).
    PropertyLengthMissing: MALFORMED_PACKET, [], ["MQTT-2.2.2-1"],
        "the packet ends before its Property Length";
    PropertiesTruncated: MALFORMED_PACKET, [], ["5.0 §2.2.2.1"],
        "the Property Length reaches beyond the end of the packet";
    PropertyTruncated: MALFORMED_PACKET, [], ["5.0 §2.2.2.2"],
        "the properties end inside a property";
    PropertyUnknown: MALFORMED_PACKET, [], ["5.0 §2.2.2.2"],
        "there is no property with this identifier";
    PropertyNotAllowed: MALFORMED_PACKET, [], ["5.0 §2.2.2.2"],
        "the property is not allowed in this packet";
    PropertyTwice: PROTOCOL_ERROR, [], ["5.0 §2.2.2.2"],
        "a property that may occur once occurs twice";
    UserPropertyUtf8: MALFORMED_PACKET, [], ["MQTT-1.5.7-1", "MQTT-1.5.4-1"],
        "a User Property is not well-formed UTF-8";
    UserPropertyNullCharacter: MALFORMED_PACKET, [], ["MQTT-1.5.7-1", "MQTT-1.5.4-2"],
        "a User Property contains U+0000";
    PayloadFormatIndicatorRange: PROTOCOL_ERROR, [], ["5.0 §3.3.2.3.2"],
        "the Payload Format Indicator is neither 0 nor 1";
    TopicAliasZero: TOPIC_ALIAS_INVALID, [], ["MQTT-3.3.2-8"],
        "the Topic Alias is 0";
    ResponseTopicUtf8: MALFORMED_PACKET, [], ["MQTT-3.3.2-13", "MQTT-1.5.4-1"],
        "the Response Topic is not well-formed UTF-8";
    ResponseTopicWildcard: PROTOCOL_ERROR, [], ["MQTT-3.3.2-14"],
        "the Response Topic contains a wildcard";
    ContentTypeUtf8: MALFORMED_PACKET, [], ["MQTT-3.3.2-19", "MQTT-1.5.4-1"],
        "the Content Type is not well-formed UTF-8";
    SubscriptionIdentifierZero: PROTOCOL_ERROR, [], ["5.0 §3.8.2.1.2"],
        "the Subscription Identifier is 0";
    ReceiveMaximumZero: PROTOCOL_ERROR, [], ["5.0 §3.1.2.11.3"],
        "the Receive Maximum is 0";
    MaximumPacketSizeZero: PROTOCOL_ERROR, [], ["5.0 §3.1.2.11.4"],
        "the Maximum Packet Size is 0";
    RequestResponseInformationRange: PROTOCOL_ERROR, [], ["5.0 §3.1.2.11.6"],
        "the Request Response Information is neither 0 nor 1";
    RequestProblemInformationRange: PROTOCOL_ERROR, [], ["5.0 §3.1.2.11.7"],
        "the Request Problem Information is neither 0 nor 1";
    AuthenticationDataWithoutMethod: PROTOCOL_ERROR, [], ["5.0 §3.1.2.11.10"],
        "there is Authentication Data without an Authentication Method";
    MaximumQoSRange: PROTOCOL_ERROR, [], ["5.0 §3.2.2.3.4"],
        "the Maximum QoS is neither 0 nor 1";
    RetainAvailableRange: PROTOCOL_ERROR, [], ["5.0 §3.2.2.3.5"],
        "Retain Available is neither 0 nor 1";
    WildcardSubscriptionAvailableRange: PROTOCOL_ERROR, [], ["5.0 §3.2.2.3.11"],
        "Wildcard Subscription Available is neither 0 nor 1";
    SubscriptionIdentifierAvailableRange: PROTOCOL_ERROR, [], ["5.0 §3.2.2.3.12"],
        "Subscription Identifier Available is neither 0 nor 1";
    SharedSubscriptionAvailableRange: PROTOCOL_ERROR, [], ["5.0 §3.2.2.3.13"],
        "Shared Subscription Available is neither 0 nor 1";
}
