/** Small helpers for plain objects. */

/** A type without `undefined`: what could be that is optional. */
type Defined<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>
}

/** The object without entries that are undefined, which would hide defaults when it is spread over them. */
export function withoutUndefined<T extends object>(value: T): Defined<T> {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as Defined<T>
}

/** The entries of an object that another one does not have. */
export function omit<T extends object, K extends keyof T>(value: T, like: { readonly [N in K]: unknown }): Omit<T, K> {
  const others = Object.entries(value).filter(([name]) => !Object.hasOwn(like, name))
  return Object.fromEntries(others) as Omit<T, K>
}

/** The entries of an object that another one has, too. */
export function pick<T extends object, K extends keyof T>(value: T, like: { readonly [N in K]: unknown }): Pick<T, K> {
  const names = Object.keys(like).filter((name) => Object.hasOwn(value, name))
  return Object.fromEntries(names.map((name) => [name, value[name as K]])) as Pick<T, K>
}
