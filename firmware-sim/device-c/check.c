/* Makes messages of all shapes from a seed: check SEED COUNT. Each is encoded into a buffer of its own at every size that
 * is too small and at the right one (an address sanitizer sees what is written beyond), and described on stdout. Then come
 * messages that must be refused. Exits 1 with a sentence at the first that is not as it must be. */
#include "describe.h"
#include "telemetry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READINGS_MAX = 12, TEXT_BYTES = TELEMETRY_TEXT_BYTES_MAX + 2, TEXTS = 5, MESSAGE_BYTES_MAX = 8192 };

static uint64_t state;
static char texts[READINGS_MAX][TEXTS][TEXT_BYTES];

/* SplitMix64. */
static uint64_t random_bits(void)
{
    uint64_t bits = state += 0x9E3779B97F4A7C15u;
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9u;
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EBu;
    return bits ^ bits >> 31;
}

static unsigned below(unsigned limit)
{
    return (unsigned)(random_bits() % limit);
}

static void fail(const char *sentence)
{
    fflush(stdout);
    fprintf(stderr, "check: %s\n", sentence);
    exit(1);
}

static const char *random_text(char *text, unsigned bytes_min, unsigned bytes_max)
{
    unsigned length = bytes_min + below(bytes_max - bytes_min + 1);
    for (unsigned i = 0; i < length; i++)
        text[i] = (char)('a' + below(26));
    text[length] = '\0';
    return text;
}

static double random_number(void)
{
    for (;;) {
        uint64_t bits = random_bits();
        double number;
        memcpy(&number, &bits, sizeof number);
        if (isfinite(number))
            return below(2) ? number : (double)below(1000) / 8;
    }
}

static telemetry_reading random_reading(char own[TEXTS][TEXT_BYTES])
{
    telemetry_reading reading;
    memset(&reading, 0, sizeof reading);
    /* A third are plain numbers, which take the short form where they are alone. */
    bool is_plain = below(3) == 0;
    reading.kind = is_plain ? TELEMETRY_NUMBER : (telemetry_kind)below(4);
    if (reading.kind == TELEMETRY_NUMBER)
        reading.value.number = random_number();
    if (reading.kind == TELEMETRY_BOOLEAN)
        reading.value.boolean = below(2) == 1;
    if (reading.kind == TELEMETRY_TEXT)
        reading.value.text = random_text(own[0], 0, TELEMETRY_TEXT_BYTES_MAX);
    if (below(2))
        reading.property = random_text(own[1], 1, is_plain ? 11 : 60);
    else
        reading.property_number = (uint16_t)(1 + below(20));
    if (is_plain)
        return reading;
    if (reading.property == NULL && below(3) == 0) {
        memcpy(own[2], "k=", 2);
        random_text(own[2] + 2, 1, 20);
        reading.qualifiers = own[2];
    }
    if (below(2))
        reading.unit = random_text(own[3], 0, TELEMETRY_UNIT_BYTES_MAX);
    if (below(2))
        reading.status = random_text(own[4], 0, TELEMETRY_STATUS_BYTES_MAX);
    if (below(3) == 0)
        reading.period_s = (uint32_t)random_bits();
    reading.has_time = below(3) == 0;
    reading.time_us = (int64_t)(random_bits() >> 13);
    return reading;
}

/* In a buffer of exactly this size, at an odd address half the time. */
static int32_t encode_into(const telemetry_message *message, size_t size, uint8_t *copy)
{
    size_t shift = below(2);
    uint8_t *whole = malloc(size + shift + 1);
    if (whole == NULL)
        fail("no memory");
    /* The byte behind the buffer must stay. */
    memset(whole, 0xA5, size + shift + 1);
    int32_t length = telemetry_encode(message, whole + shift, size);
    if (whole[size + shift] != 0xA5)
        fail("written beyond the buffer");
    if (length > 0 && copy != NULL)
        memcpy(copy, whole + shift, (size_t)length);
    free(whole);
    return length;
}

static void check_message(const telemetry_message *message)
{
    static uint8_t bytes[MESSAGE_BYTES_MAX], again[MESSAGE_BYTES_MAX];
    int32_t length = encode_into(message, MESSAGE_BYTES_MAX, bytes);
    if (length <= 0)
        fail("a good message is refused");
    for (size_t size = 0; size < (size_t)length; size++)
        if (encode_into(message, size, NULL) != TELEMETRY_BUFFER_TOO_SMALL)
            fail("a buffer that is too small is not told");
    if (encode_into(message, (size_t)length, again) != length || memcmp(bytes, again, (size_t)length) != 0)
        fail("the message depends on the size of the buffer");
    describe(message, bytes, length);
}

static void check_refusals(void)
{
    uint8_t buffer[TELEMETRY_SHORT_BYTES_MAX];
    char text[TELEMETRY_TEXT_BYTES_MAX + 2];
    memset(text, 'x', sizeof text);
    text[TELEMETRY_TEXT_BYTES_MAX + 1] = '\0';
    telemetry_reading good;
    memset(&good, 0, sizeof good);
    good.property_number = 1;
    telemetry_reading reading = good;
    const telemetry_message message = { false, 0, false, 0, &reading, 1 };
#define REFUSED(change, error)                                                 \
    do {                                                                       \
        reading = good;                                                        \
        change;                                                                \
        if (telemetry_encode(&message, buffer, sizeof buffer) != (error))      \
            fail("not refused: " #change);                                     \
    } while (0)
    REFUSED(reading.value.number = NAN, TELEMETRY_VALUE);
    REFUSED(reading.value.number = -INFINITY, TELEMETRY_VALUE);
    REFUSED(reading.kind = (telemetry_kind)9, TELEMETRY_VALUE);
    REFUSED((reading.kind = TELEMETRY_TEXT, reading.value.text = NULL), TELEMETRY_VALUE);
    REFUSED((reading.kind = TELEMETRY_TEXT, reading.value.text = text), TELEMETRY_TOO_LONG);
    REFUSED(reading.property_number = 0, TELEMETRY_PROPERTY);
    REFUSED(reading.property = "rain", TELEMETRY_PROPERTY);
    REFUSED((reading.property_number = 0, reading.property = "rain", reading.qualifiers = "a=b"), TELEMETRY_PROPERTY);
    REFUSED((reading.property_number = 0, reading.property = text), TELEMETRY_TOO_LONG);
    REFUSED(reading.qualifiers = text, TELEMETRY_TOO_LONG);
    REFUSED(reading.unit = text, TELEMETRY_TOO_LONG);
    REFUSED(reading.status = text, TELEMETRY_TOO_LONG);
    const telemetry_message none = { false, 0, false, 0, &good, 0 };
    const telemetry_message many = { false, 0, false, 0, &good, TELEMETRY_READINGS_MAX + 1 };
    if (telemetry_encode(&none, buffer, sizeof buffer) != TELEMETRY_COUNT
        || telemetry_encode(&many, buffer, sizeof buffer) != TELEMETRY_COUNT)
        fail("a count of readings is not refused");
}

int main(int arguments_count, char **arguments)
{
    if (arguments_count != 3) {
        fprintf(stderr, "usage: check SEED COUNT\n");
        return 2;
    }
    state = strtoull(arguments[1], NULL, 10);
    unsigned long count = strtoul(arguments[2], NULL, 10);
    for (unsigned long i = 0; i < count; i++) {
        telemetry_reading readings[READINGS_MAX];
        size_t readings_count = below(2) ? 1 : 1 + below(READINGS_MAX);
        for (size_t r = 0; r < readings_count; r++)
            readings[r] = random_reading(texts[r]);
        const telemetry_message message = {
            below(2) == 1, (int64_t)(random_bits() >> 13), below(4) > 0, random_bits() >> below(64), readings, readings_count
        };
        check_message(&message);
    }
    check_refusals();
    return 0;
}
