/** Where the command writes: so that tests can read it. */

export interface Output {
  /** Results. */
  stdout: NodeJS.WritableStream & { isTTY?: boolean; columns?: number; rows?: number }
  /** Logs and errors. */
  stderr: NodeJS.WritableStream & { isTTY?: boolean }
}

export const processOutput: Output = { stdout: process.stdout, stderr: process.stderr }
