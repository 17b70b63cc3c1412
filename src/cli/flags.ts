/** Flags of several commands, and how texts of flags are read. */

import { type Command, CommanderError, Option } from 'commander'
import { KafkaToDeltaError } from '../errors.js'
import { PLACES } from '../options/table-uri.js'

/** Flags of all commands on one table. */
export interface TableFlags {
  /** A configuration file; the path is then the topic, name or path of one of its tables. */
  config?: string
  storageOption?: Record<string, string>
  json?: boolean
  verbose?: boolean
}

export const invalid = (message: string) => new KafkaToDeltaError('CONFIG_INVALID', message)

/** The code by which errors of flags that are ours are known from those that commander has printed itself. */
export const INVALID_FLAG = 'kafka2delta.invalidFlag'

/** An error of a flag's text, while the command line is read. */
export const wrongFlag = (message: string) => new CommanderError(2, INVALID_FLAG, `error: ${message}`)

export const verboseOption = () => new Option('--verbose', 'print stacks of errors').default(false)

/** Reads a whole number. */
export const number = (name: string, minimum: number) => (text: string) => {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < minimum) {
    throw wrongFlag(`${name} must be a whole number of at least ${minimum}`)
  }
  return value
}

const storageOption = (text: string, before: Record<string, string>) => {
  const at = text.indexOf('=')
  if (at < 1) throw wrongFlag('--storage-option must be name=value')
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) }
}

/** A command on one table, with the flags that all of them have. */
export const onTable = (program: Command, name: string, description: string): Command =>
  program
    .command(name)
    .description(description)
    .argument('<table>', `${PLACES}; with --config a topic, name or path of the file`)
    .option('-c, --config <file>', 'takes storage and layout from this configuration')
    .option('--storage-option <name=value>', 'for the object store; may be given several times', storageOption, {})
    .option('--json', 'one JSON value')
    .addOption(verboseOption())
