import { PassThrough } from 'node:stream'
import { stripVTControlCharacters } from 'node:util'
import { Command } from 'commander'
import type { Act, Register } from '../../src/cli/command.js'

/** Runs a command of the program in this process: its exit code, and what it writes, without colours. */
export async function runCommand(register: Register, args: readonly string[]): Promise<{ code: number; text: string }> {
  const stdout = new PassThrough()
  let code = -1
  const act: Act =
    (run) =>
    async (...given) => {
      code = await run(...(given.slice(0, -1) as never), { stdout, stderr: new PassThrough() })
    }
  const program = new Command().exitOverride()
  register(program, act)
  await program.parseAsync([...args], { from: 'user' })
  return { code, text: stripVTControlCharacters(String(stdout.read() ?? '')) }
}
