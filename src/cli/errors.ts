/** How errors are shown, and what the command's exit code is. */

import pc from 'picocolors'
import { causes } from '../delta/addon.js'
import { asKafkaToDeltaError, HINTS, KafkaToDeltaError } from '../errors.js'

type Colors = Pick<ReturnType<typeof pc.createColors>, 'red' | 'bold' | 'dim' | 'cyan'>

function positionText(error: KafkaToDeltaError): string {
  const { position } = error
  const parts: string[] = []
  for (const name of ['topic', 'partition', 'offset', 'table', 'version', 'column', 'schemaId'] as const) {
    if (position[name] !== undefined) parts.push(`${name} ${position[name]}`)
  }
  return parts.join(', ')
}

/** Whether a message has all lines of another one. */
const saysAll = (message: string, text: string): boolean =>
  text.split('\n').every((line) => message.includes(line.replace(/^\s*-?\s*/, '')))

/** An error for people: code, message, position, causes, what to do; stacks only where asked for. */
export function formatError(thrown: unknown, options: { verbose?: boolean; colors?: Colors } = {}): string {
  const colors = options.colors ?? pc
  const error = asKafkaToDeltaError(thrown)
  const lines = [`${colors.red(colors.bold(`error ${error.code}:`))} ${error.message}`]
  const position = positionText(error)
  if (position !== '') lines.push(`  at ${position}`)
  const said = [error.message]
  for (const cause of causes(error).slice(1)) {
    const text = cause instanceof Error ? cause.message : String(cause)
    // A wrapper often repeats what it wraps.
    if (said.some((message) => saysAll(message, text))) continue
    said.push(text)
    const code = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? `${cause.code}: ` : ''
    lines.push(`  ${colors.dim('caused by')} ${code}${text}`)
  }
  const hint = HINTS[error.code]
  if (hint) lines.push(`  ${colors.cyan('hint:')} ${hint}`)
  if (options.verbose) {
    for (const cause of causes(error)) if (cause instanceof Error && cause.stack) lines.push(colors.dim(cause.stack))
  }
  return lines.join('\n')
}

/** The exit code of the command for an error. */
export function exitCodeOf(error: unknown): number {
  return error instanceof KafkaToDeltaError ? error.exitCode : 1
}
