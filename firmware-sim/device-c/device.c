/* A made-up station on a desk: messages for a real MQTT client.
 *
 *   device                      one message of now on stdout:  device | mosquitto_pub -t obs/H24.05/C001 -q 1 -s
 *   device COUNT DIRECTORY      messages of the last COUNT minutes into DIRECTORY/0000.bin, …, for mosquitto_pub -f;
 *                               stdout says what is in them */
#include "describe.h"
#include "telemetry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BUFFER_BYTES = 512, READINGS_MAX = 5, MESSAGES_MAX = 10000, PATH_BYTES = 4096 };
/* Numbers of the gateway's catalogue. */
enum { PM2_5 = 1, AIR_TEMPERATURE = 16, RAIN = 23, WATER_LEVEL = 28, VEHICLE_COUNT = 54, PUMP_STATE = 74 };

static const int64_t MINUTE_US = 60000000;

static telemetry_reading number(uint16_t property, double value)
{
    telemetry_reading reading;
    memset(&reading, 0, sizeof reading);
    reading.kind = TELEMETRY_NUMBER;
    reading.property_number = property;
    reading.value.number = value;
    return reading;
}

/* The form of the message follows its number. Gives how many readings were made. */
static size_t measure(unsigned count, int64_t time_us, telemetry_reading readings[READINGS_MAX])
{
    double signal = (double)(count * 37 % 101) / 7;
    switch (count % 4) {
    case 0: /* one number, its property by number */
        readings[0] = number(PM2_5, 12.5 + signal);
        return 1;
    case 1: /* one number, its property by name */
        readings[0] = number(0, 400 + signal);
        readings[0].property = "co2_air";
        return 1;
    case 2: /* every kind of value */
        readings[0] = number(AIR_TEMPERATURE, 24.25 + signal);
        readings[0].status = "00";
        readings[1] = number(WATER_LEVEL, 100 + (double)(count % 50));
        readings[1].unit = "cm";
        readings[2] = number(PUMP_STATE, 0);
        readings[2].kind = TELEMETRY_BOOLEAN;
        readings[2].value.boolean = count % 8 == 2;
        readings[3] = number(0, 0);
        readings[3].kind = TELEMETRY_TEXT;
        readings[3].property = "note";
        readings[3].value.text = "mực nước cao";
        readings[4] = number(RAIN, 0);
        readings[4].kind = TELEMETRY_MISSING;
        return 5;
    default: /* counts with qualifiers, a period and a time of their own */
        for (unsigned lane = 0; lane < 2; lane++) {
            readings[lane] = number(VEHICLE_COUNT, (double)(count % 60 + 10 * lane));
            readings[lane].qualifiers = lane == 0 ? "class=motorcycle;lane=1" : "class=car;lane=2";
            readings[lane].unit = "{veh}";
            readings[lane].period_s = 60;
            readings[lane].has_time = true;
            readings[lane].time_us = time_us - MINUTE_US / 2;
        }
        return 2;
    }
}

/* Writes message `count` as it was at `time_us`; gives its length. */
static int32_t make(unsigned count, int64_t time_us, uint8_t buffer[BUFFER_BYTES], bool is_described)
{
    telemetry_reading readings[READINGS_MAX];
    telemetry_message message = { true, time_us, true, count, readings, 0 };
    message.readings_count = measure(count, time_us, readings);
    int32_t length = telemetry_encode(&message, buffer, BUFFER_BYTES);
    if (length > 0 && is_described)
        describe(&message, buffer, length);
    return length;
}

static bool write_to(FILE *file, const uint8_t *buffer, int32_t length)
{
    return length > 0 && fwrite(buffer, 1, (size_t)length, file) == (size_t)length;
}

static bool write_file(const char *directory, unsigned count, const uint8_t *buffer, int32_t length)
{
    char path[PATH_BYTES];
    int path_length = snprintf(path, sizeof path, "%s/%04u.bin", directory, count);
    if (path_length < 0 || (size_t)path_length >= sizeof path)
        return false;
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        return false;
    bool is_written = write_to(file, buffer, length);
    return fclose(file) == 0 && is_written;
}

int main(int arguments_count, char **arguments)
{
    uint8_t buffer[BUFFER_BYTES];
    int64_t now_us = (int64_t)time(NULL) * 1000000;
    if (arguments_count == 1) {
        /* Minutes since 1970: goes on rising over every restart. */
        int32_t length = make((unsigned)(now_us / MINUTE_US), now_us, buffer, false);
        return write_to(stdout, buffer, length) && fflush(stdout) == 0 ? 0 : 1;
    }
    long messages = arguments_count == 3 ? strtol(arguments[1], NULL, 10) : 0;
    if (messages < 1 || messages > MESSAGES_MAX) {
        fprintf(stderr, "usage: device | device COUNT DIRECTORY, COUNT from 1 to %d\n", MESSAGES_MAX);
        return 2;
    }
    for (unsigned count = 0; count < (unsigned)messages; count++) {
        int32_t length = make(count, now_us - (messages - (long)count) * MINUTE_US, buffer, true);
        if (!write_file(arguments[2], count, buffer, length)) {
            fprintf(stderr, "device: message %u can't be written into %s\n", count, arguments[2]);
            return 1;
        }
    }
    return 0;
}
