/** Writes the JSON Schema of the configuration file: `npx tsx scripts/json-schema.ts`. */

import { writeFileSync } from 'node:fs'
import { configJsonSchemaText } from '../src/options/json-schema.js'

writeFileSync(new URL('../resources/kafka2delta.schema.json', import.meta.url), configJsonSchemaText())
