/* FlatBuffers, written from front to back: file header, message table, vector of readings, then for each reading its
 * table and texts. All references between them point forward, so each is filled in when its target is reached.
 *
 *   0  root offset    4  "SGT1"    8  slots of the message    then its table, at 4 modulo 8
 *
 * A table is its 4 bytes of reference to the slots, then its fields by falling size: so no padding stands between them,
 * and where a field is follows from which fields there are. Readings with the same fields share their slots. */
#include "telemetry.h"

#include <string.h>

/* Doubles go out as IEEE 754 binary64; avr-gcc needs -mdouble=64 for that. */
typedef char telemetry_double_is_binary64[sizeof(double) == 8 ? 1 : -1];

enum { HEADER_BYTES = 8, REFERENCE_BYTES = 4 };

/* Fields by id (codecs/schemas/telemetry.fbs), with their sizes in bytes. */
enum { MESSAGE_TIME, MESSAGE_SEQ, MESSAGE_NUMBER, MESSAGE_PROPERTY, MESSAGE_PROPERTY_NUMBER, MESSAGE_READINGS,
       MESSAGE_SEQ_WIDE, MESSAGE_FIELDS };
static const uint8_t MESSAGE_SIZES[MESSAGE_FIELDS] = { 8, 4, 8, 4, 2, 4, 8 };
enum { READING_NUMBER, READING_PROPERTY_NUMBER, READING_PROPERTY, READING_QUALIFIERS, READING_TIME, READING_BOOLEAN,
       READING_TEXT, READING_MISSING, READING_UNIT, READING_STATUS, READING_PERIOD, READING_FIELDS };
static const uint8_t READING_SIZES[READING_FIELDS] = { 8, 2, 4, 4, 8, 1, 4, 1, 4, 4, 4 };

/* 32 bits hold the longest message also where size_t has 16. */
typedef struct {
    uint8_t *buffer;
    uint32_t size;
    uint32_t length; /* goes on beyond size, where nothing is written: one check at the end is enough */
} output;

/* A table that is being made. */
typedef struct {
    const uint8_t *sizes;
    unsigned fields_count;
    unsigned present; /* bit by id */
    uint64_t values[READING_FIELDS];
} table;

typedef struct {
    unsigned present;
    uint32_t at; /* 0: none yet */
} slots;

static void put_at(output *out, uint32_t at, uint64_t value, unsigned bytes)
{
    for (; bytes > 0; bytes--, at++, value >>= 8)
        if (at < out->size)
            out->buffer[at] = (uint8_t)value;
}

static void put(output *out, uint64_t value, unsigned bytes)
{
    put_at(out, out->length, value, bytes);
    out->length += bytes;
}

/* Zeros up to the next place that is `remainder` modulo `multiple`, a power of two. */
static void pad(output *out, uint32_t multiple, uint32_t remainder)
{
    while ((out->length & (multiple - 1)) != remainder)
        put(out, 0, 1);
}

/* The reference at `at` is to what comes next. */
static void refer_here(output *out, uint32_t at)
{
    put_at(out, at, out->length - at, REFERENCE_BYTES);
}

static uint32_t length_of(const char *text)
{
    uint32_t length = 0;
    while (text[length] != '\0' && length <= TELEMETRY_TEXT_BYTES_MAX)
        length++;
    return length;
}

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* A text, referred to from `at`. */
static void put_text(output *out, uint32_t at, const char *text)
{
    uint32_t length = length_of(text);
    pad(out, REFERENCE_BYTES, 0);
    refer_here(out, at);
    put(out, length, REFERENCE_BYTES);
    if (out->length <= out->size && length <= out->size - out->length)
        memcpy(out->buffer + out->length, text, length);
    out->length += length;
    put(out, 0, 1);
}

/* Without the values: only those that are set are read, and zeroing all would call memset. */
static void begin(table *made, const uint8_t *sizes, unsigned fields_count)
{
    made->sizes = sizes;
    made->fields_count = fields_count;
    made->present = 0;
}

static void set(table *made, unsigned id, uint64_t value)
{
    made->present |= 1u << id;
    made->values[id] = value;
}

/* Where a field stands in its table; with `id` = fields_count: the size of the table. */
static unsigned place(const table *made, unsigned id)
{
    unsigned size = id < made->fields_count ? made->sizes[id] : 0;
    unsigned before = REFERENCE_BYTES;
    for (unsigned other = 0; other < made->fields_count; other++)
        if ((made->present >> other & 1) != 0
            && (made->sizes[other] > size || (made->sizes[other] == size && other < id)))
            before += made->sizes[other];
    return before;
}

/* Writes the table, and its slots unless `last` has the same; gives where the table is. */
static uint32_t put_table(output *out, const table *made, slots *last)
{
    if (last->at == 0 || last->present != made->present) {
        unsigned slots_count = made->fields_count;
        while (slots_count > 0 && (made->present >> (slots_count - 1) & 1) == 0)
            slots_count--;
        pad(out, 2, 0);
        last->present = made->present;
        last->at = out->length;
        put(out, 4 + 2 * slots_count, 2);
        put(out, place(made, made->fields_count), 2);
        for (unsigned id = 0; id < slots_count; id++)
            put(out, (made->present >> id & 1) != 0 ? place(made, id) : 0, 2);
    }
    pad(out, 8, REFERENCE_BYTES);
    uint32_t at = out->length;
    put(out, at - last->at, REFERENCE_BYTES);
    for (unsigned size = 8; size > 0; size /= 2)
        for (unsigned id = 0; id < made->fields_count; id++)
            if ((made->present >> id & 1) != 0 && made->sizes[id] == size)
                put(out, made->values[id], size);
    return at;
}

static uint64_t bits_of(double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

/* 0, or what is wrong with a reading. */
static int32_t check(const telemetry_reading *reading)
{
    bool is_named = is_given(reading->property);
    if (is_named == (reading->property_number != 0) || (is_named && is_given(reading->qualifiers)))
        return TELEMETRY_PROPERTY;
    switch (reading->kind) {
    case TELEMETRY_NUMBER:
        /* All bits of the exponent: an infinity or not a number. */
        if ((bits_of(reading->value.number) >> 52 & 0x7FF) == 0x7FF)
            return TELEMETRY_VALUE;
        break;
    case TELEMETRY_TEXT:
        if (reading->value.text == NULL)
            return TELEMETRY_VALUE;
        if (length_of(reading->value.text) > TELEMETRY_TEXT_BYTES_MAX)
            return TELEMETRY_TOO_LONG;
        break;
    case TELEMETRY_BOOLEAN:
    case TELEMETRY_MISSING:
        break;
    default:
        return TELEMETRY_VALUE;
    }
    if ((is_named && length_of(reading->property) > TELEMETRY_NAME_BYTES_MAX)
        || (reading->qualifiers != NULL && length_of(reading->qualifiers) > TELEMETRY_NAME_BYTES_MAX)
        || (reading->unit != NULL && length_of(reading->unit) > TELEMETRY_UNIT_BYTES_MAX)
        || (reading->status != NULL && length_of(reading->status) > TELEMETRY_STATUS_BYTES_MAX))
        return TELEMETRY_TOO_LONG;
    return 0;
}

/* Whether it can stand in the message itself. */
static bool is_plain_number(const telemetry_reading *reading)
{
    return reading->kind == TELEMETRY_NUMBER && !reading->has_time && reading->period_s == 0
        && !is_given(reading->qualifiers) && !is_given(reading->unit) && !is_given(reading->status);
}

static void put_reading(output *out, uint32_t reference_at, const telemetry_reading *reading, slots *last)
{
    /* Kept in the order of their ids; the values of the fields are filled in when the texts are written. */
    const struct { unsigned id; const char *text; } texts[] = {
        { READING_PROPERTY, reading->property },
        { READING_QUALIFIERS, reading->qualifiers },
        { READING_UNIT, reading->unit },
        { READING_STATUS, reading->status },
    };
    table made;
    begin(&made, READING_SIZES, READING_FIELDS);
    switch (reading->kind) {
    case TELEMETRY_NUMBER: set(&made, READING_NUMBER, bits_of(reading->value.number)); break;
    case TELEMETRY_BOOLEAN: set(&made, READING_BOOLEAN, reading->value.boolean); break;
    case TELEMETRY_TEXT: set(&made, READING_TEXT, 0); break;
    default: set(&made, READING_MISSING, true); break;
    }
    if (reading->property_number != 0)
        set(&made, READING_PROPERTY_NUMBER, reading->property_number);
    if (reading->has_time)
        set(&made, READING_TIME, (uint64_t)reading->time_us);
    if (reading->period_s != 0)
        set(&made, READING_PERIOD, reading->period_s);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (is_given(texts[i].text))
            set(&made, texts[i].id, 0);

    uint32_t at = put_table(out, &made, last);
    put_at(out, reference_at, at - reference_at, REFERENCE_BYTES);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (is_given(texts[i].text))
            put_text(out, at + place(&made, texts[i].id), texts[i].text);
    if (reading->kind == TELEMETRY_TEXT)
        put_text(out, at + place(&made, READING_TEXT), reading->value.text);
}

/* The message's own table; gives where the reference to its readings stands, 0 for the short form, which has none. */
static uint32_t put_message(output *out, const telemetry_message *message, const telemetry_reading *plain)
{
    slots none = { 0, 0 };
    table made;
    begin(&made, MESSAGE_SIZES, MESSAGE_FIELDS);
    if (message->has_time)
        set(&made, MESSAGE_TIME, (uint64_t)message->time_us);
    if (message->has_seq)
        set(&made, message->seq <= UINT32_MAX ? MESSAGE_SEQ : MESSAGE_SEQ_WIDE, message->seq);
    if (plain == NULL) {
        set(&made, MESSAGE_READINGS, 0);
    } else {
        set(&made, MESSAGE_NUMBER, bits_of(plain->value.number));
        if (plain->property_number != 0)
            set(&made, MESSAGE_PROPERTY_NUMBER, plain->property_number);
        else
            set(&made, MESSAGE_PROPERTY, 0);
    }
    uint32_t at = put_table(out, &made, &none);
    put_at(out, 0, at, REFERENCE_BYTES);
    if (plain == NULL)
        return at + place(&made, MESSAGE_READINGS);
    if (plain->property_number == 0)
        put_text(out, at + place(&made, MESSAGE_PROPERTY), plain->property);
    return 0;
}

int32_t telemetry_encode(const telemetry_message *message, uint8_t *buffer, size_t size)
{
    output out = { buffer, size < INT32_MAX ? (uint32_t)size : INT32_MAX, HEADER_BYTES };
    size_t count = message->readings_count;
    if (count == 0 || count > TELEMETRY_READINGS_MAX)
        return TELEMETRY_COUNT;
    for (size_t i = 0; i < count; i++) {
        int32_t wrong = check(&message->readings[i]);
        if (wrong != 0)
            return wrong;
    }
    put_at(&out, 4, 0x31544753u, 4); /* "SGT1" */
    bool is_short = count == 1 && is_plain_number(message->readings);
    uint32_t readings_at = put_message(&out, message, is_short ? message->readings : NULL);
    if (!is_short) {
        slots last = { 0, 0 };
        pad(&out, REFERENCE_BYTES, 0);
        refer_here(&out, readings_at);
        put(&out, count, REFERENCE_BYTES);
        uint32_t references_at = out.length;
        out.length += REFERENCE_BYTES * (uint32_t)count;
        for (uint32_t i = 0; i < count; i++)
            put_reading(&out, references_at + REFERENCE_BYTES * i, &message->readings[i], &last);
    }
    return out.length <= out.size ? (int32_t)out.length : TELEMETRY_BUFFER_TOO_SMALL;
}
