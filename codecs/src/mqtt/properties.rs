//! A list of properties as it stands in a packet: raw bytes that have been checked, read when asked for.

use super::encode::EncodeError;
use super::error::{DecodeError, Rule};
use super::packet::{ProtocolVersion, QoS};
use super::property::{Property, PropertyId, PropertyOwner};
use super::reader::Reader;

/// The properties of a packet, without the length in front. Empty for 3.1.1.
///
/// Two lists are equal when their bytes are, so the order matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Properties<'a> {
    bytes: &'a [u8],
}

macro_rules! getters {
    ($($(#[$comment:meta])* $name:ident: $property:ident -> $type:ty;)*) => {
        $($(#[$comment])*
        #[inline]
        pub fn $name(&self) -> Option<$type> {
            if self.bytes.is_empty() {
                return None;
            }
            self.iter().find_map(|property| match property {
                Property::$property(value) => Some(value),
                _ => None,
            })
        })*
    };
}

impl<'a> Properties<'a> {
    pub const EMPTY: Self = Self { bytes: &[] };

    /// Checks bytes that claim to be the properties of such a packet (as [`as_bytes`](Self::as_bytes) gives them), in
    /// one pass: known properties only, each allowed there, not repeated, with a legal value.
    pub fn parse(owner: PropertyOwner, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.is_empty() {
            return Ok(Self::EMPTY);
        }
        check(owner, bytes).map_err(|rule| DecodeError::new(rule, ProtocolVersion::V5))?;
        Ok(Self { bytes })
    }

    /// The raw encoding without the length in front.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub const fn iter(&self) -> PropertyIter<'a> {
        PropertyIter { reader: Reader::new(self.bytes) }
    }

    getters! {
        /// True: the payload is UTF-8 text.
        payload_format_indicator: PayloadFormatIndicator -> bool;
        message_expiry_interval_s: MessageExpiryInterval -> u32;
        content_type: ContentType -> &'a str;
        response_topic: ResponseTopic -> &'a str;
        correlation_data: CorrelationData -> &'a [u8];
        /// The first; a PUBLISH to a subscriber may have several, see [`subscription_identifiers`](Self::subscription_identifiers).
        subscription_identifier: SubscriptionIdentifier -> u32;
        session_expiry_interval_s: SessionExpiryInterval -> u32;
        assigned_client_identifier: AssignedClientIdentifier -> &'a str;
        server_keep_alive_s: ServerKeepAlive -> u16;
        authentication_method: AuthenticationMethod -> &'a str;
        authentication_data: AuthenticationData -> &'a [u8];
        request_problem_information: RequestProblemInformation -> bool;
        will_delay_interval_s: WillDelayInterval -> u32;
        request_response_information: RequestResponseInformation -> bool;
        response_information: ResponseInformation -> &'a str;
        server_reference: ServerReference -> &'a str;
        reason_string: ReasonString -> &'a str;
        receive_maximum: ReceiveMaximum -> u16;
        topic_alias_maximum: TopicAliasMaximum -> u16;
        topic_alias: TopicAlias -> u16;
        maximum_qos: MaximumQoS -> QoS;
        retain_available: RetainAvailable -> bool;
        /// Whole packets, in bytes.
        maximum_packet_size: MaximumPacketSize -> u32;
        wildcard_subscription_available: WildcardSubscriptionAvailable -> bool;
        subscription_identifier_available: SubscriptionIdentifierAvailable -> bool;
        shared_subscription_available: SharedSubscriptionAvailable -> bool;
    }

    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::SubscriptionIdentifier(identifier) => Some(identifier),
            _ => None,
        })
    }

    /// Names and values in the order of the packet.
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::UserProperty(name, value) => Some((name, value)),
            _ => None,
        })
    }
}

fn check(owner: PropertyOwner, bytes: &[u8]) -> Result<(), Rule> {
    let mut reader = Reader::new(bytes);
    let mut seen = 0;
    while !reader.is_empty() {
        let property = Property::read(&mut reader)?;
        let id = property.id();
        if !id.allowed_in(owner) {
            return Err(Rule::PropertyNotAllowed);
        }
        if seen & id.bit() != 0 && !id.repeatable_in(owner) {
            return Err(Rule::PropertyTwice);
        }
        seen |= id.bit();
    }
    if seen & PropertyId::AuthenticationData.bit() != 0 && seen & PropertyId::AuthenticationMethod.bit() == 0
    {
        return Err(Rule::AuthenticationDataWithoutMethod);
    }
    Ok(())
}

impl<'a> IntoIterator for Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = PropertyIter<'a>;

    fn into_iter(self) -> PropertyIter<'a> {
        self.iter()
    }
}

/// The properties of a packet in their order. The bytes were checked before; should they not be properties after
/// all, the iterator ends.
#[derive(Debug, Clone)]
pub struct PropertyIter<'a> {
    reader: Reader<'a>,
}

impl<'a> PropertyIter<'a> {
    /// The next property together with its encoding.
    pub(super) fn next_with_bytes(&mut self) -> Option<(Property<'a>, &'a [u8])> {
        if self.reader.is_empty() {
            return None;
        }
        let before = self.reader.rest();
        let property = Property::read(&mut self.reader).ok()?;
        let length = before.len() - self.reader.rest().len();
        Some((property, &before[..length]))
    }
}

impl<'a> Iterator for PropertyIter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        self.next_with_bytes().map(|(property, _)| property)
    }
}

/// Properties under construction, for a packet that is to be encoded. Reusable: [`clear`](Self::clear) keeps the memory.
#[derive(Debug, Clone)]
pub struct PropertiesBuffer {
    owner: PropertyOwner,
    bytes: Vec<u8>,
}

impl PropertiesBuffer {
    pub const fn new(owner: PropertyOwner) -> Self {
        Self { owner, bytes: Vec::new() }
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Appends a property, unless the packet may not have it (again) or its value is not legal.
    pub fn push(&mut self, property: Property<'_>) -> Result<(), EncodeError> {
        let id = property.id();
        if !id.allowed_in(self.owner) {
            return Err(EncodeError::PropertyNotAllowed(id));
        }
        if !id.repeatable_in(self.owner) && self.as_properties().iter().any(|other| other.id() == id) {
            return Err(EncodeError::PropertyTwice(id));
        }
        let before = self.bytes.len();
        let written = super::encode::property(&mut self.bytes, property).and_then(|()| {
            // What was written is read back: a value that a receiver would refuse never leaves.
            let read = Property::read(&mut Reader::new(&self.bytes[before..]));
            if read == Ok(property) { Ok(()) } else { Err(EncodeError::PropertyValue(id)) }
        });
        written.inspect_err(|_| self.bytes.truncate(before))
    }

    pub fn as_properties(&self) -> Properties<'_> {
        Properties { bytes: &self.bytes }
    }
}
