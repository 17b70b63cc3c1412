/** A table's schema as its log has it: JSON. */

/** A type of the Delta schema's JSON. */
export type DeltaType =
  | string
  | {
      type: string
      elementType?: DeltaType
      keyType?: DeltaType
      valueType?: DeltaType
      fields?: readonly { name: string; type: DeltaType }[]
    }

/** A column of the Delta schema's JSON. */
export interface SchemaField {
  name: string
  type: DeltaType
  nullable: boolean
  metadata?: Readonly<Record<string, unknown>>
}

/** The columns of a schema; none where there is no table. */
export const fieldsOf = (schemaJson: string | null): SchemaField[] =>
  schemaJson === null ? [] : (JSON.parse(schemaJson) as { fields: SchemaField[] }).fields
