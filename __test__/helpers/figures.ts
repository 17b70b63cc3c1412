import { MERGE_FIGURES, type MergeFigure } from '../../src/delta/results.js'

/** The figures of a merge that did nothing. */
export const NO_FIGURES = Object.fromEntries(Object.keys(MERGE_FIGURES).map((name) => [name, 0])) as Record<
  MergeFigure,
  number
>
