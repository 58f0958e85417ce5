//! The properties of 5.0: which there are, where each may stand, how often, and what its value may be.

use super::error::Rule;
use super::packet::QoS;
use super::reader::{Reader, VariableByteInteger, variable_byte_integer};
use super::topic;

/// What a list of properties belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PropertyOwner {
    Connect = 0,
    /// The will properties inside a CONNECT.
    Will = 1,
    ConnAck = 2,
    Publish = 3,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK allow the same two.
    Ack = 4,
    Subscribe = 5,
    Unsubscribe = 6,
    Disconnect = 7,
    Auth = 8,
}

impl PropertyOwner {
    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

macro_rules! property_ids {
    ($($name:ident = $id:literal in [$($owner:ident)*];)*) => {
        /// The property identifiers with their wire numbers.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum PropertyId { $($name = $id),* }

        impl PropertyId {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            pub(super) const fn from_wire(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Whether the standard (table 2-4) has this property in such a packet.
            pub const fn allowed_in(self, owner: PropertyOwner) -> bool {
                let owners = match self {
                    $(Self::$name => 0 $(| PropertyOwner::$owner.bit())*,)*
                };
                owners & owner.bit() != 0
            }
        }
    };
}

property_ids! {
    PayloadFormatIndicator = 1 in [Publish Will];
    MessageExpiryInterval = 2 in [Publish Will];
    ContentType = 3 in [Publish Will];
    ResponseTopic = 8 in [Publish Will];
    CorrelationData = 9 in [Publish Will];
    SubscriptionIdentifier = 11 in [Publish Subscribe];
    SessionExpiryInterval = 17 in [Connect ConnAck Disconnect];
    AssignedClientIdentifier = 18 in [ConnAck];
    ServerKeepAlive = 19 in [ConnAck];
    AuthenticationMethod = 21 in [Connect ConnAck Auth];
    AuthenticationData = 22 in [Connect ConnAck Auth];
    RequestProblemInformation = 23 in [Connect];
    WillDelayInterval = 24 in [Will];
    RequestResponseInformation = 25 in [Connect];
    ResponseInformation = 26 in [ConnAck];
    ServerReference = 28 in [ConnAck Disconnect];
    ReasonString = 31 in [ConnAck Ack Disconnect Auth];
    ReceiveMaximum = 33 in [Connect ConnAck];
    TopicAliasMaximum = 34 in [Connect ConnAck];
    TopicAlias = 35 in [Publish];
    MaximumQoS = 36 in [ConnAck];
    RetainAvailable = 37 in [ConnAck];
    UserProperty = 38 in [Connect Will ConnAck Publish Ack Subscribe Unsubscribe Disconnect Auth];
    MaximumPacketSize = 39 in [Connect ConnAck];
    WildcardSubscriptionAvailable = 40 in [ConnAck];
    SubscriptionIdentifierAvailable = 41 in [ConnAck];
    SharedSubscriptionAvailable = 42 in [ConnAck];
}

impl PropertyId {
    /// Whether the property may occur more than once in such a packet.
    pub const fn repeatable_in(self, owner: PropertyOwner) -> bool {
        match self {
            Self::UserProperty => true,
            Self::SubscriptionIdentifier => matches!(owner, PropertyOwner::Publish),
            _ => false,
        }
    }

    /// A bit of its own, for the set of properties already seen.
    pub(super) const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// One property with its value. Intervals are seconds, sizes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property<'a> {
    /// True: the payload is UTF-8 text. False: unspecified bytes.
    PayloadFormatIndicator(bool),
    MessageExpiryInterval(u32),
    ContentType(&'a str),
    /// At least one character, no wildcards.
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    /// 1 to 268,435,455.
    SubscriptionIdentifier(u32),
    /// `u32::MAX`: the session does not expire.
    SessionExpiryInterval(u32),
    AssignedClientIdentifier(&'a str),
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(bool),
    WillDelayInterval(u32),
    RequestResponseInformation(bool),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    /// At least 1.
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    /// At least 1.
    TopicAlias(u16),
    /// 0 or 1.
    MaximumQoS(QoS),
    RetainAvailable(bool),
    UserProperty(&'a str, &'a str),
    /// At least 1.
    MaximumPacketSize(u32),
    WildcardSubscriptionAvailable(bool),
    SubscriptionIdentifierAvailable(bool),
    SharedSubscriptionAvailable(bool),
}

/// The largest value of a variable byte integer.
pub(super) const VARIABLE_BYTE_INTEGER_MAX: u32 = 268_435_455;

impl<'a> Property<'a> {
    pub const fn id(&self) -> PropertyId {
        match self {
            Self::PayloadFormatIndicator(_) => PropertyId::PayloadFormatIndicator,
            Self::MessageExpiryInterval(_) => PropertyId::MessageExpiryInterval,
            Self::ContentType(_) => PropertyId::ContentType,
            Self::ResponseTopic(_) => PropertyId::ResponseTopic,
            Self::CorrelationData(_) => PropertyId::CorrelationData,
            Self::SubscriptionIdentifier(_) => PropertyId::SubscriptionIdentifier,
            Self::SessionExpiryInterval(_) => PropertyId::SessionExpiryInterval,
            Self::AssignedClientIdentifier(_) => PropertyId::AssignedClientIdentifier,
            Self::ServerKeepAlive(_) => PropertyId::ServerKeepAlive,
            Self::AuthenticationMethod(_) => PropertyId::AuthenticationMethod,
            Self::AuthenticationData(_) => PropertyId::AuthenticationData,
            Self::RequestProblemInformation(_) => PropertyId::RequestProblemInformation,
            Self::WillDelayInterval(_) => PropertyId::WillDelayInterval,
            Self::RequestResponseInformation(_) => PropertyId::RequestResponseInformation,
            Self::ResponseInformation(_) => PropertyId::ResponseInformation,
            Self::ServerReference(_) => PropertyId::ServerReference,
            Self::ReasonString(_) => PropertyId::ReasonString,
            Self::ReceiveMaximum(_) => PropertyId::ReceiveMaximum,
            Self::TopicAliasMaximum(_) => PropertyId::TopicAliasMaximum,
            Self::TopicAlias(_) => PropertyId::TopicAlias,
            Self::MaximumQoS(_) => PropertyId::MaximumQoS,
            Self::RetainAvailable(_) => PropertyId::RetainAvailable,
            Self::UserProperty(..) => PropertyId::UserProperty,
            Self::MaximumPacketSize(_) => PropertyId::MaximumPacketSize,
            Self::WildcardSubscriptionAvailable(_) => PropertyId::WildcardSubscriptionAvailable,
            Self::SubscriptionIdentifierAvailable(_) => PropertyId::SubscriptionIdentifierAvailable,
            Self::SharedSubscriptionAvailable(_) => PropertyId::SharedSubscriptionAvailable,
        }
    }

    /// Reads the property at the cursor and checks its value, but not whether its packet may have it.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Rule> {
        let number = read_variable_byte_integer(reader)?;
        let id = PropertyId::from_wire(number).ok_or(Rule::PropertyUnknown)?;
        Ok(match id {
            PropertyId::PayloadFormatIndicator => {
                Self::PayloadFormatIndicator(flag(reader, Rule::PayloadFormatIndicatorRange)?)
            }
            PropertyId::MessageExpiryInterval => Self::MessageExpiryInterval(u32(reader)?),
            PropertyId::ContentType => Self::ContentType(string(reader, Rule::ContentTypeUtf8)?),
            PropertyId::ResponseTopic => Self::ResponseTopic(response_topic(reader)?),
            PropertyId::CorrelationData => Self::CorrelationData(binary(reader)?),
            PropertyId::SubscriptionIdentifier => {
                let identifier = read_variable_byte_integer(reader)?;
                Self::SubscriptionIdentifier(non_zero(identifier, Rule::SubscriptionIdentifierZero)?)
            }
            PropertyId::SessionExpiryInterval => Self::SessionExpiryInterval(u32(reader)?),
            PropertyId::AssignedClientIdentifier => {
                Self::AssignedClientIdentifier(string(reader, Rule::Utf8)?)
            }
            PropertyId::ServerKeepAlive => Self::ServerKeepAlive(u16(reader)?),
            PropertyId::AuthenticationMethod => Self::AuthenticationMethod(string(reader, Rule::Utf8)?),
            PropertyId::AuthenticationData => Self::AuthenticationData(binary(reader)?),
            PropertyId::RequestProblemInformation => {
                Self::RequestProblemInformation(flag(reader, Rule::RequestProblemInformationRange)?)
            }
            PropertyId::WillDelayInterval => Self::WillDelayInterval(u32(reader)?),
            PropertyId::RequestResponseInformation => {
                Self::RequestResponseInformation(flag(reader, Rule::RequestResponseInformationRange)?)
            }
            PropertyId::ResponseInformation => Self::ResponseInformation(string(reader, Rule::Utf8)?),
            PropertyId::ServerReference => Self::ServerReference(string(reader, Rule::Utf8)?),
            PropertyId::ReasonString => Self::ReasonString(string(reader, Rule::Utf8)?),
            PropertyId::ReceiveMaximum => {
                Self::ReceiveMaximum(non_zero(u16(reader)?, Rule::ReceiveMaximumZero)?)
            }
            PropertyId::TopicAliasMaximum => Self::TopicAliasMaximum(u16(reader)?),
            PropertyId::TopicAlias => Self::TopicAlias(non_zero(u16(reader)?, Rule::TopicAliasZero)?),
            PropertyId::MaximumQoS => match flag(reader, Rule::MaximumQoSRange)? {
                false => Self::MaximumQoS(QoS::AtMostOnce),
                true => Self::MaximumQoS(QoS::AtLeastOnce),
            },
            PropertyId::RetainAvailable => Self::RetainAvailable(flag(reader, Rule::RetainAvailableRange)?),
            PropertyId::UserProperty => {
                Self::UserProperty(user_property_string(reader)?, user_property_string(reader)?)
            }
            PropertyId::MaximumPacketSize => {
                Self::MaximumPacketSize(non_zero(u32(reader)?, Rule::MaximumPacketSizeZero)?)
            }
            PropertyId::WildcardSubscriptionAvailable => {
                Self::WildcardSubscriptionAvailable(flag(reader, Rule::WildcardSubscriptionAvailableRange)?)
            }
            PropertyId::SubscriptionIdentifierAvailable => Self::SubscriptionIdentifierAvailable(flag(
                reader,
                Rule::SubscriptionIdentifierAvailableRange,
            )?),
            PropertyId::SharedSubscriptionAvailable => {
                Self::SharedSubscriptionAvailable(flag(reader, Rule::SharedSubscriptionAvailableRange)?)
            }
        })
    }
}

/// A variable byte integer inside the properties: minimal, at most four bytes.
fn read_variable_byte_integer(reader: &mut Reader<'_>) -> Result<u32, Rule> {
    match variable_byte_integer(reader.rest()) {
        VariableByteInteger::Value { value, length, minimal: true } => {
            reader.take(length).ok_or(Rule::PropertyTruncated)?;
            Ok(value)
        }
        VariableByteInteger::Value { minimal: false, .. } => Err(Rule::VariableByteIntegerNotMinimal),
        VariableByteInteger::Incomplete => Err(Rule::PropertyTruncated),
        VariableByteInteger::TooLong => Err(Rule::VariableByteIntegerTooLong),
    }
}

fn flag(reader: &mut Reader<'_>, range: Rule) -> Result<bool, Rule> {
    match reader.u8().ok_or(Rule::PropertyTruncated)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(range),
    }
}

fn u16(reader: &mut Reader<'_>) -> Result<u16, Rule> {
    reader.u16().ok_or(Rule::PropertyTruncated)
}

fn u32(reader: &mut Reader<'_>) -> Result<u32, Rule> {
    reader.u32().ok_or(Rule::PropertyTruncated)
}

fn non_zero<T: PartialEq + From<u8>>(value: T, rule: Rule) -> Result<T, Rule> {
    if value == T::from(0) { Err(rule) } else { Ok(value) }
}

fn binary<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Rule> {
    reader.binary().ok_or(Rule::PropertyTruncated)
}

fn string<'a>(reader: &mut Reader<'a>, utf8: Rule) -> Result<&'a str, Rule> {
    topic::text(binary(reader)?, utf8, Rule::NullCharacter)
}

fn user_property_string<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Rule> {
    topic::text(binary(reader)?, Rule::UserPropertyUtf8, Rule::UserPropertyNullCharacter)
}

/// A Response Topic is used as a Topic Name, so it is checked as one.
fn response_topic<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Rule> {
    let response_topic = topic::name(binary(reader)?, Rule::ResponseTopicUtf8, Rule::ResponseTopicWildcard)?;
    if response_topic.is_empty() { Err(Rule::TopicEmpty) } else { Ok(response_topic) }
}
