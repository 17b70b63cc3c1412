/** One Kafka message as an object, as clients give it. `key` and `value` may be slices of what was fetched. */
export interface RawMessage {
  offset: string
  /** Milliseconds since 1970, as decimal text. */
  timestamp: string
  key: Buffer | null
  value: Buffer | null
  /** Several headers of one name are an array. */
  headers?: Record<string, Buffer | string | null | (Buffer | string | null)[] | undefined>
}
