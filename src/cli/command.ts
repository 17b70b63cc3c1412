/** What a command is to the program that registers it. */

import type { Command } from 'commander'
import type { Output } from '../terminal/output.js'

/** Makes an action of a function that takes the command's arguments, its flags and the output, and returns the exit code. */
export type Act = <Given extends unknown[]>(
  run: (...given: [...Given, output: Output]) => Promise<number>,
) => (...given: unknown[]) => Promise<void>

/** Adds a command with its flags and help to the program. */
export type Register = (program: Command, act: Act) => void
