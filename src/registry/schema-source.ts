/** Where decoders get schemas from. */

import type { AvroSchemaJson } from '../avro/schema.js'

export interface SchemaSource {
  /**
   * The writer schema of this id.
   * @throws BAD_RECORD where the registry does not know the id
   * @throws REGISTRY_UNREACHABLE, REGISTRY_AUTH
   * @throws SCHEMA_UNSUPPORTED where it is no Avro schema
   */
  get(id: number): Promise<AvroSchemaJson>
}
