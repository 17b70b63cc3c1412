/** Times of a chaos run, in milliseconds. */

/** After which the group gives the tables of a worker that is silent to others. */
export const SESSION_MS = 3_000

/** Between two looks of a worker for new topics. */
export const LOOK_EVERY_MS = 1_500

/** What is younger than this no vacuum takes: more than the longest time that a commit may be held up. */
export const RETENTION_MS = 120_000

/** Between two marks. */
export const MARK_EVERY_MS = 90_000
