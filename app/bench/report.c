/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Output: a JSON object per line, or the same as a table. Of rates the high
 * quantiles are the slow ones, as of times: p99 is what 99 % reach.
 */
#include "bench.h"

/* A time in the row's unit, or the rate that it is. */
static double
figure(double ticks, double scale, uint64_t bytes)
{
	return bytes == 0 ? ticks * scale : (double)bytes / (ticks * scale);
}

static double
quantile(struct bench_samples *samples, double share, double scale, uint64_t bytes)
{
	return figure((double)bench_samples_quantile(samples, share), scale, bytes);
}

static void
quantiles_print_json(FILE *out, const struct bench_row *row)
{
	fprintf(out, "\"n\":%zu,\"mean\":%.3f,\"min\":%.3f,\"p50\":%.3f,\"p99\":%.3f,"
		"\"p999\":%.3f,\"max\":%.3f", row->samples->count,
		figure(bench_samples_mean(row->samples), row->scale, row->bytes),
		quantile(row->samples, 0.0, row->scale, row->bytes),
		quantile(row->samples, 0.5, row->scale, row->bytes),
		quantile(row->samples, 0.99, row->scale, row->bytes),
		quantile(row->samples, 0.999, row->scale, row->bytes),
		quantile(row->samples, 1.0, row->scale, row->bytes));
}

static double
row_ratio(const struct bench_row *row)
{
	return quantile(row->samples, 0.5, row->scale, row->bytes) /
		quantile(row->baseline, 0.5, row->baseline_scale, row->bytes);
}

static void
machine_print_json(const struct bench *bench)
{
	fprintf(bench->out, ",\"machine\":\"%s\",\"pages\":\"%s\"}\n", bench->machine,
		bench->hugepages > 0 ? "2M" : "4k");
}

static void
row_print_json(struct bench *bench, const struct bench_row *row)
{
	FILE *out = bench->out;

	fprintf(out, "{\"name\":\"%s\",", row->name);
	if (row->pmd != NULL)
		fprintf(out, "\"pmd\":\"%s\",", row->pmd);
	fprintf(out, "\"unit\":\"%s\",", row->unit);
	quantiles_print_json(out, row);
	if (row->baseline != NULL)
		fprintf(out, ",\"baseline\":{\"name\":\"%s\",\"mean\":%.3f,\"p50\":%.3f,\"p99\":%.3f,"
			"\"p999\":%.3f},\"ratio\":%.3f",
			row->baseline_name,
			figure(bench_samples_mean(row->baseline), row->baseline_scale,
			       row->bytes),
			quantile(row->baseline, 0.5, row->baseline_scale, row->bytes),
			quantile(row->baseline, 0.99, row->baseline_scale, row->bytes),
			quantile(row->baseline, 0.999, row->baseline_scale, row->bytes),
			row_ratio(row));
	machine_print_json(bench);
}

static void
row_print_text(struct bench *bench, const struct bench_row *row)
{
	FILE *out = bench->out;
	int digits = row->bytes == 0 ? 1 : 2;

	if (bench->rows == 0)
		fprintf(out, "%-28s %-9s %-6s %8s %9s %9s %9s %9s %9s\n", "name", "pmd", "unit",
			"n", "min", "p50", "p99", "p999", "max");
	fprintf(out, "%-28s %-9s %-6s %8zu %9.*f %9.*f %9.*f %9.*f %9.*f", row->name,
		row->pmd != NULL ? row->pmd : "-", row->unit, row->samples->count,
		digits, quantile(row->samples, 0.0, row->scale, row->bytes),
		digits, quantile(row->samples, 0.5, row->scale, row->bytes),
		digits, quantile(row->samples, 0.99, row->scale, row->bytes),
		digits, quantile(row->samples, 0.999, row->scale, row->bytes),
		digits, quantile(row->samples, 1.0, row->scale, row->bytes));
	if (row->baseline != NULL)
		fprintf(out, "  %.3f x %s %.*f", row_ratio(row), row->baseline_name, digits,
			quantile(row->baseline, 0.5, row->baseline_scale, row->bytes));
	fprintf(out, "\n");
}

void
bench_report(struct bench *bench, const struct bench_row *row)
{
	if (bench->json)
		row_print_json(bench, row);
	else
		row_print_text(bench, row);
	bench->rows++;
	fflush(bench->out);
}

void
bench_report_value(struct bench *bench, const char *name, const char *unit, double value)
{
	if (bench->json) {
		fprintf(bench->out, "{\"name\":\"%s\",\"unit\":\"%s\",\"n\":1,\"min\":%.3f,"
			"\"p50\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f", name, unit, value,
			value, value, value, value);
		machine_print_json(bench);
	} else {
		fprintf(bench->out, "%-28s %.3f %s\n", name, value, unit);
	}
	bench->rows++;
	fflush(bench->out);
}
