/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Output: a JSON object per line, or the same as a table.
 */
#include "bench.h"

static void
quantiles_print_json(FILE *out, struct bench_samples *samples, double scale)
{
	fprintf(out, "\"n\":%zu,\"mean\":%.1f,\"min\":%.1f,\"p50\":%.1f,\"p99\":%.1f,"
		"\"p999\":%.1f,\"max\":%.1f",
		samples->count, bench_samples_mean(samples) * scale,
		(double)bench_samples_quantile(samples, 0.0) * scale,
		(double)bench_samples_quantile(samples, 0.5) * scale,
		(double)bench_samples_quantile(samples, 0.99) * scale,
		(double)bench_samples_quantile(samples, 0.999) * scale,
		(double)bench_samples_quantile(samples, 1.0) * scale);
}

static double
row_ratio(const struct bench_row *row)
{
	double baseline = (double)bench_samples_quantile(row->baseline, 0.5) * row->baseline_scale;

	return (double)bench_samples_quantile(row->samples, 0.5) * row->scale / baseline;
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
	quantiles_print_json(out, row->samples, row->scale);
	if (row->baseline != NULL)
		fprintf(out, ",\"baseline\":{\"name\":\"%s\",\"mean\":%.1f,\"p50\":%.1f,\"p99\":%.1f,"
			"\"p999\":%.1f},\"ratio\":%.3f",
			row->baseline_name,
			bench_samples_mean(row->baseline) * row->baseline_scale,
			(double)bench_samples_quantile(row->baseline, 0.5) * row->baseline_scale,
			(double)bench_samples_quantile(row->baseline, 0.99) * row->baseline_scale,
			(double)bench_samples_quantile(row->baseline, 0.999) * row->baseline_scale,
			row_ratio(row));
	machine_print_json(bench);
}

static void
row_print_text(struct bench *bench, const struct bench_row *row)
{
	FILE *out = bench->out;

	if (bench->rows == 0)
		fprintf(out, "%-28s %-9s %-6s %8s %9s %9s %9s %9s %9s\n", "name", "pmd", "unit",
			"n", "min", "p50", "p99", "p999", "max");
	fprintf(out, "%-28s %-9s %-6s %8zu %9.1f %9.1f %9.1f %9.1f %9.1f", row->name,
		row->pmd != NULL ? row->pmd : "-", row->unit, row->samples->count,
		(double)bench_samples_quantile(row->samples, 0.0) * row->scale,
		(double)bench_samples_quantile(row->samples, 0.5) * row->scale,
		(double)bench_samples_quantile(row->samples, 0.99) * row->scale,
		(double)bench_samples_quantile(row->samples, 0.999) * row->scale,
		(double)bench_samples_quantile(row->samples, 1.0) * row->scale);
	if (row->baseline != NULL)
		fprintf(out, "  %.3f x %s", row_ratio(row), row->baseline_name);
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
