/* For the host programs: says in text what a message holds, so that a test can compare it with what others read. */
#ifndef DESCRIBE_H
#define DESCRIBE_H

#include "telemetry.h"

/* Prints `message SEQ TIME_US COUNT BYTES_IN_HEX`, then for each reading
 * `reading|PROPERTY_NUMBER|PROPERTY|QUALIFIERS|KIND|VALUE|UNIT|STATUS|PERIOD_S|TIME_US`; `-` is none. Numbers have 17 digits. */
void describe(const telemetry_message *message, const uint8_t *bytes, int32_t length);

#endif
