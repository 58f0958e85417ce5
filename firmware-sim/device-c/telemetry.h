/* Writes the gateway's telemetry message (docs/format/telemetry.md) into a buffer of the caller.
 *
 * For microcontrollers: C99, no allocation, nothing of the C library but memcpy, no state between calls; texts stay
 * where they are until the call returns. Publish what was written on obs/{agency}/{station} at QoS 1. */
#ifndef TELEMETRY_H
#define TELEMETRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Limits of the gateway; what is above them is refused here, before it costs a transmission. Texts in bytes of UTF-8. */
#define TELEMETRY_READINGS_MAX 1024
#define TELEMETRY_NAME_BYTES_MAX 255
#define TELEMETRY_TEXT_BYTES_MAX 256
#define TELEMETRY_UNIT_BYTES_MAX 32
#define TELEMETRY_STATUS_BYTES_MAX 32

/* Holds any message of one plain number with time and sequence number whose property has a number in the gateway's
 * catalogue, or a name of at most 11 bytes. */
#define TELEMETRY_SHORT_BYTES_MAX 64

typedef enum {
    TELEMETRY_NUMBER,
    TELEMETRY_BOOLEAN,
    TELEMETRY_TEXT,
    TELEMETRY_MISSING /* the sensor has no value */
} telemetry_kind;

/* One reading. All that is zero or NULL is left out of the message. */
typedef struct {
    telemetry_kind kind;
    union {
        double number; /* finite */
        bool boolean;
        const char *text;
    } value;
    uint16_t property_number; /* of the gateway's catalogue (codecs/src/property_catalogue.rs); 0: see `property` */
    const char *property;     /* a name with its qualifiers, "flow;class=motorcycle;lane=1" */
    const char *qualifiers;   /* behind a property_number, "class=motorcycle;lane=1" */
    const char *unit;         /* as measured, best in UCUM; without it the catalogue's unit is assumed */
    const char *status;       /* the device's own code */
    uint32_t period_s;        /* length that a count, mean or sum covers */
    bool has_time;            /* else the message's time holds */
    int64_t time_us;          /* epoch microseconds, UTC */
} telemetry_reading;

typedef struct {
    bool has_time; /* without any time the gateway takes the time of arrival */
    int64_t time_us;
    bool has_seq; /* the station's own sequence number: with it a re-sent message is never stored twice */
    uint64_t seq;
    const telemetry_reading *readings;
    size_t readings_count;
} telemetry_message;

typedef enum {
    TELEMETRY_BUFFER_TOO_SMALL = -1,
    TELEMETRY_COUNT = -2,    /* no reading, or more than TELEMETRY_READINGS_MAX */
    TELEMETRY_PROPERTY = -3, /* neither number nor name, both, or qualifiers beside a name */
    TELEMETRY_VALUE = -4,    /* no such kind, not a finite number, no text */
    TELEMETRY_TOO_LONG = -5  /* a text above its limit */
} telemetry_error;

/* Writes one message; gives its length in bytes, or a telemetry_error, and then the buffer's content means nothing.
 * Never writes beyond `size`. The buffer needs no alignment. */
int32_t telemetry_encode(const telemetry_message *message, uint8_t *buffer, size_t size);

#endif
