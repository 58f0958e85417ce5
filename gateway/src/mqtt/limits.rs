//! What a client can make grow, and how far.

/// All limits of the front end; the settings of `[mqtt]` of the same names.
#[derive(Clone, Debug)]
pub struct MqttLimits {
    /// Largest packet that a client may send, header included.
    pub packet_bytes_max: usize,
    /// Announced Receive Maximum of 5.0, and the most open inbound QoS 2 messages of a 3.1.1 client.
    pub receive_max: u16,
    /// A longer Keep Alive (or none) is replaced by this one (5.0: told in CONNACK). 0 = whatever the client wants.
    pub keep_alive_s_max: u16,
    pub connections_max: usize,
    /// From TCP accept to a whole CONNECT.
    pub connect_timeout_ms: u64,
    /// What may wait for one subscriber, sent and unsent bytes together; a subscriber that needs more is cut off.
    pub session_queue_bytes_max: usize,
    /// Incomplete packets of all connections of a shard together.
    pub partial_bytes_max: usize,
    /// PUBLISH packets of one connection that may wait for room in the journal.
    pub hold_bytes_max: usize,
    /// Those of all connections of a shard together.
    pub hold_pool_bytes_max: usize,
    /// How long one may wait before it is refused.
    pub hold_ms_max: u64,
    /// Wills of all clients of a shard together.
    pub will_bytes_max: usize,
    pub client_id_bytes_max: usize,
    pub topic_bytes_max: usize,
}

/// QoS 1 messages that a 3.1.1 subscriber may have unacknowledged (it has no way to say).
pub const SEND_WINDOW_V3: u16 = 100;
/// The most for a 5.0 subscriber, whatever Receive Maximum it names: it bounds the set of open packet identifiers.
pub const SEND_WINDOW_MAX: u16 = 1024;
/// SUBSCRIBE and UNSUBSCRIBE of one connection that wait for the router; more are a quota exceeded.
pub const ROUTER_REQUESTS_OPEN_MAX: u32 = 64;
/// How long a closed connection may take to read the last bytes.
pub const LINGER_MS: u64 = 2_000;

impl Default for MqttLimits {
    fn default() -> Self {
        Self {
            packet_bytes_max: 256 << 10,
            receive_max: 1024,
            keep_alive_s_max: 0,
            connections_max: 100_000,
            connect_timeout_ms: 10_000,
            session_queue_bytes_max: 1 << 20,
            partial_bytes_max: 64 << 20,
            hold_bytes_max: 256 << 10,
            hold_pool_bytes_max: 64 << 20,
            hold_ms_max: 15_000,
            will_bytes_max: 64 << 20,
            client_id_bytes_max: 256,
            topic_bytes_max: 1024,
        }
    }
}
