/** Small helpers for plain objects. */

/** The object without entries that are undefined, which would hide defaults when it is spread over them. */
export function withoutUndefined<T extends object>(value: T): Partial<T> {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as Partial<T>
}
