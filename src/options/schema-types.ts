/** Holds the types of the options and their schema against each other: tsc fails where one has what the other has not. */

import type { z } from 'zod'
import type { optionsSchema } from './schema.js'
import type { StreamOptions } from './types.js'

/** Options whose types are kafkajs's, or whose form differs once they are read. */
type Apart = 'kafka' | 'consumer' | 'startingOffsets'

/**
 * All options as pairs of a name and a type, `['tables.*.path', string]`; those of objects within a union separately,
 * since the schema refuses wrong combinations by its refinements, not by its type.
 */
type Pairs<T, Name extends string = ''> = T extends undefined
  ? never
  : T extends readonly (infer Item)[]
    ? [`${Name}[]`, Item]
    : T extends object
      ? { [K in keyof T & string]-?: Pairs<T[K], `${Name}.${string extends K ? '*' : K}`> }[keyof T & string]
      : [Name, T]

/** Pairs of one side that the other one lacks: tsc names them when there are any. */
type None<Missing extends never> = Missing

type Typed = Pairs<Omit<StreamOptions, Apart>>

/** The schema takes all that the types allow. */
export type TypesFitSchema = None<Exclude<Typed, Pairs<Omit<z.input<typeof optionsSchema>, Apart>>>>

/** What the schema has read, the types allow. */
export type SchemaFitsTypes = None<Exclude<Pairs<Omit<z.output<typeof optionsSchema>, Apart>>, Typed>>
