#include "describe.h"

#include <inttypes.h>
#include <stdio.h>

static void describe_time(bool has_time, int64_t time_us)
{
    if (has_time)
        printf("%" PRId64, time_us);
    else
        printf("-");
}

static void describe_reading(const telemetry_reading *reading)
{
    const char *texts[] = { reading->property, reading->qualifiers, reading->unit, reading->status };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i] == NULL)
            texts[i] = "";
    printf("reading|%u|%s|%s|", (unsigned)reading->property_number, texts[0], texts[1]);
    switch (reading->kind) {
    case TELEMETRY_NUMBER: printf("number|%.17g", reading->value.number); break;
    case TELEMETRY_BOOLEAN: printf("boolean|%s", reading->value.boolean ? "true" : "false"); break;
    case TELEMETRY_TEXT: printf("text|%s", reading->value.text); break;
    default: printf("null|"); break;
    }
    printf("|%s|%s|%" PRIu32 "|", texts[2], texts[3], reading->period_s);
    describe_time(reading->has_time, reading->time_us);
    printf("\n");
}

void describe(const telemetry_message *message, const uint8_t *bytes, int32_t length)
{
    printf("message ");
    if (message->has_seq)
        printf("%" PRIu64 " ", message->seq);
    else
        printf("- ");
    describe_time(message->has_time, message->time_us);
    printf(" %lu ", (unsigned long)message->readings_count);
    for (int32_t i = 0; i < length; i++)
        printf("%02x", bytes[i]);
    printf("\n");
    for (size_t i = 0; i < message->readings_count; i++)
        describe_reading(&message->readings[i]);
}
