/** Small helpers for plain objects. */

/** A type whose properties may be assigned. */
export type Writable<T> = { -readonly [K in keyof T]: T[K] }

/** The object without entries that are undefined, which would hide defaults when it is spread over them. */
export function withoutUndefined<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>
  }
}

/** The entries of an object that another one has, too. */
export function pick<T extends object, K extends keyof T>(value: T, like: { readonly [N in K]: unknown }): Pick<T, K> {
  const names = Object.keys(like).filter((name) => Object.hasOwn(value, name))
  return Object.fromEntries(names.map((name) => [name, value[name as K]])) as Pick<T, K>
}
