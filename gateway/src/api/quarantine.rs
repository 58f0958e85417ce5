//! What could not be decoded, and raw messages.

use serde_json::{Value, json};

use super::{ApiError, payload};
use crate::cancel::Cancel;
use crate::catalogue::QuarantineFilter;
use crate::parameters::{self, BadParameter, Given, cursor};
use crate::query::{GatewayView, quarantine_filter, quarantine_json};

/// `GET /api/v1/quarantine`: newest first.
pub(super) fn quarantine(
    given: &Given<'_>,
    view: &dyn GatewayView,
    cancel: &Cancel,
) -> Result<Value, ApiError> {
    let limit = given.whole(&parameters::QUARANTINE_PAGE_LIMIT)?.unwrap_or(1) as usize;
    let before = match given.cursor(&parameters::AFTER)?.as_deref() {
        None => None,
        Some([position, ordinal])
            if let (Ok(position), Ok(ordinal)) = (position.parse(), ordinal.parse()) =>
        {
            Some((position, ordinal))
        }
        Some(_) => return Err(BadParameter::foreign_cursor().into()),
    };
    // One more than the page, to know whether another one follows.
    let filter = QuarantineFilter { cancel: cancel.clone(), ..quarantine_filter(given, before, limit + 1)? };
    let mut entries = view.quarantine_list(&filter)?;
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries
        .last()
        .filter(|_| more)
        .map(|entry| cursor(&[&entry.position.to_string(), &entry.ordinal.to_string()]));
    Ok(json!({ "entries": entries.iter().map(quarantine_json).collect::<Vec<_>>(), "next": next }))
}

/// `GET /api/v1/quarantine/{position}`: with the payload.
pub(super) fn quarantine_item(given: &Given<'_>, view: &dyn GatewayView) -> Result<Value, ApiError> {
    let position = given.whole(&parameters::PATH_POSITION)?.unwrap_or_default();
    let items = view.quarantine_show(position)?;
    if items.is_empty() {
        let sentence = format!("nothing of the message at position {position} is in quarantine");
        return Err(ApiError::Missing(BadParameter::new(parameters::PATH_POSITION.name, sentence)));
    }
    let objects: Vec<Value> = items
        .iter()
        .map(|item| {
            let mut object = quarantine_json(&item.entry);
            payload::show(&item.payload, &mut object);
            Value::Object(object)
        })
        .collect();
    Ok(json!({ "items": objects }))
}

/// `GET /api/v1/messages`: the newest raw messages of a station.
pub(super) fn messages(
    given: &Given<'_>,
    view: &dyn GatewayView,
    cancel: &Cancel,
) -> Result<Value, ApiError> {
    let [agency, station] = given.station(&parameters::MESSAGE_STATION)?.unwrap_or_default();
    let limit = given.whole(&parameters::MESSAGE_LIMIT)?.unwrap_or(1) as usize;
    let found = view.messages(&agency, &station, limit, cancel)?.ok_or_else(|| {
        let sentence = format!("there is no station {agency}/{station}");
        ApiError::Missing(BadParameter::new(parameters::MESSAGE_STATION.name, sentence))
    })?;
    let messages: Vec<Value> = found
        .messages
        .iter()
        .map(|message| {
            let mut object = serde_json::Map::new();
            for (name, value) in [
                ("position", json!(message.position)),
                ("received", json!(codecs::time::format_rfc3339(message.receive_time_us))),
                ("client", json!(message.client)),
                ("topic", json!(message.topic)),
                ("qos", json!(message.qos)),
                ("dup", json!(message.dup)),
            ] {
                object.insert(name.to_owned(), value);
            }
            payload::show(&message.payload, &mut object);
            Value::Object(object)
        })
        .collect();
    Ok(json!({ "messages": messages, "recycled": found.recycled }))
}
