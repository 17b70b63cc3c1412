/** The prose of docs/types.md. */

export const HEAD = `# Types

<!-- Written by scripts/docs-types.ts, which runs each case through the program: change that, then \`npm run docs\`. -->

How the values of a change become values of a Delta table. The source is Avro as Debezium and the Confluent converter
write it: the Avro type, and beside it \`connect.name\` (or Avro's \`logicalType\`), which says what is meant. A nullable
column is a union with \`null\`, in either order; the type is that of the other side. All columns of the table are nullable.

Options are given for one column, by its field name, or for all columns that are not named:

\`\`\`yaml
tables:
  postgres.public.orders:
    path: s3://lake/orders
    columnDefaults: { outOfRange: 'null' }
    columns:
      price: { decimal: 'decimal(38,10)' }
      ordered_at: { timestampNtz: true }
      legacy_code: { type: 'string' }
\`\`\`

| option | values | meaning |
| --- | --- | --- |
| \`timestampNtz\` | \`true\`, \`false\` | timestamps without zone as Delta's \`timestamp_ntz\`; default: \`timestamp\`, taken as UTC |
| \`time\` | \`number\`, \`string\` | times of day as the number that they are (default), or as text |
| \`smallIntegers\` | \`true\`, \`false\` | int8 and int16 as \`byte\` and \`short\`; default: \`integer\` |
| \`decimal\` | \`string\`, \`double\`, \`decimal(p,s)\` | decimals that have no fixed scale, or more digits than Delta; default: \`string\`, exact |
| \`outOfRange\` | \`fail\`, \`null\`, \`clamp\` | values that the type cannot hold; default: \`fail\`, a bad record |
| \`type\` | \`string\` | the exact text of the value, whatever its type; for single columns only, and without the options that it makes needless |

An option acts within arrays, maps and structs too, but for \`type\`, which is for single values. The table keeps a column's
type: where the source's column grows (int to long, float to double, a decimal by digits), so does the table's; whole numbers
stay exact in a column of doubles (up to int) and of decimals with room for their digits; a change that no type holds stops
the table. Where a type grows, all files are written anew in it, in one commit, and a checkpoint follows at once: readers by
Delta's Rust kernel up to July 2026 (DuckDB 1.5) refuse a log between checkpoints in which a decimal partition column grew,
so for that moment they end with \`Failed to parse value\`.

## From source to Delta`

export const TEXTS = `## Values, and their texts

\`type: 'string'\` stores the value's exact text, in the forms of Spark's \`CAST(c AS STRING)\` with the session's time zone at
UTC: numbers by their digits, truth values as \`true\` and \`false\`, dates as \`yyyy-MM-dd\`, timestamps as
\`yyyy-MM-dd HH:mm:ss\` with as many digits of the second as are not zero. Otherwise than Spark's: timestamps have up to nine
digits, decimals never have an exponent and always all digits of their scale, floats the fewest digits that give the same
number again. Times are \`HH:MM:SS.ffffff\`, with nine digits where there are nanoseconds. What is text already (strings, enums,
UUIDs, ISO dates and timestamps) stays as it came. Bytes, arrays, maps and structs have no text of their own: the option is
refused there.`

export const OUTSIDE = `## Values outside

Delta's dates and timestamps lie in the years 1 to 9999. Databases hold more: \`infinity\`, years before Christ, years of five
digits. What becomes of them is \`outOfRange\`, per column; never is a value changed in silence. \`clamp\` takes the nearest value
that the type holds, and cuts digits of decimals that their scale does not hold. As text, every value can be stored.

Key columns are exact: \`null\` and \`clamp\` of \`columnDefaults\` do not count for them, and are refused where they are given
for the key column itself. A key with nanoseconds that the column would lose is a bad record; \`type: 'string'\` stores it.`

export const REFUSED = `## Values that are none

Bytes that no writer of the type would make are a bad record whatever \`outOfRange\` says, with topic, partition, offset and
column. So are a text that is not UTF-8, a map with the same key twice, a message that ends before its value does, and
bytes that are left over.`

export const END = `## What the source has lost already

- A \`NULL\` in a nullable column with a default arrives as the default, where the converter's schema says so.
- \`bigint unsigned\` above 2^63 arrives negative, unless the connector says \`bigint.unsigned.handling.mode=precise\`.
- Timestamps before 1582 in a snapshot of Debezium's are days off (the Julian calendar); streamed ones are right.
- NaN in a \`numeric\` is a value of the source's that Connect's decimals cannot hold: it arrives as \`null\`, or as text with
  \`decimal.handling.mode=string\`.
- \`NanoTimestamp\` of Debezium 3.1 to 3.5 is another moment where the source's lies before 1677 or after 2262
  (\`9999-12-31\` becomes 1816): take \`time.precision.mode=microseconds\`. Debezium 3.6 sends
  \`NULL\` for it, or stops where \`event.converting.failure.handling.mode=fail\`.
- Large values that a change leaves out, of some types: see [debezium.md](debezium.md#values-that-a-change-leaves-out).
`
