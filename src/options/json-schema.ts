/** The JSON Schema of the configuration file, made from the schema of the options. */

import { z } from 'zod'
import { optionsSchema } from './schema.js'

/** The JSON Schema of the configuration file, for editors. */
export function configJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(optionsSchema, {
    io: 'input',
    unrepresentable: 'any',
    override: ({ jsonSchema }) => {
      // What only the API can give has no place in a file.
      for (const [name, property] of Object.entries(jsonSchema.properties ?? {})) {
        if (typeof property === 'object' && property.apiOnly) delete jsonSchema.properties?.[name]
      }
    },
  })
  return { $id: 'https://unpkg.com/kafka2delta/resources/kafka2delta.schema.json', ...schema }
}

/** The text of resources/kafka2delta.schema.json. */
export const configJsonSchemaText = (): string => `${JSON.stringify(configJsonSchema(), null, 2)}\n`
