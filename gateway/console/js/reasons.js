// Reasons of quarantine that the gateway gives; `tests/browser` compares them with its source.

export const REASONS = [
  "format_unknown", "topic_invalid", "registry_limit", "time_out_of_range", "retention", "empty", "payload_too_long", "not_utf8", "not_json",
  "not_an_object", "member_twice", "member_type", "readings_missing", "too_many_readings", "property_missing",
  "property_unknown", "name_invalid", "value_missing", "bad_number", "value_too_long", "unit_too_long", "status_too_long",
  "time_unreadable", "time_absurd", "seq_invalid", "period_invalid", "flatbuffer_invalid",
];
