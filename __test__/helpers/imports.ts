/** Which files of the project a source file uses, read from its text; and the circles that files form. */

import { dirname, join } from 'node:path/posix'

const IMPORT = /^(?:import|export)\b[^'"`;]*?\bfrom '(\.[^']+)'|^import '(\.[^']+)'|\bimport\('(\.[^']+)'\)/gm

/** Files among `known` that a TypeScript file imports, also for types alone. */
export function typeScriptImports(file: string, text: string, known: readonly string[]): string[] {
  const found = new Set<string>()
  for (const match of text.matchAll(IMPORT)) {
    const path = join(dirname(file), match[1] ?? match[2] ?? match[3] ?? '').replace(/\.js$/, '.ts')
    if (known.includes(path)) found.add(path)
  }
  return [...found]
}

/** `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`. */
function pathsOf(tree: string): string[] {
  const open = tree.indexOf('{')
  if (open < 0) return [tree.replace(/\s+as\s+\w+$/, '').trim()]
  const before = tree.slice(0, open)
  const paths: string[] = []
  let depth = 0
  let from = open + 1
  for (let at = open; at < tree.length; at++) {
    if (tree[at] === '{') depth++
    if (tree[at] === '}') depth--
    if ((tree[at] === ',' && depth === 1) || depth === 0) {
      const part = tree.slice(from, at).trim()
      if (part !== '') paths.push(...pathsOf(before.trim() + part))
      from = at + 1
    }
    if (depth === 0) break
  }
  return paths
}

/** Files among `known`, of the crate in `folder`, that a Rust file names by `crate::`, or by `super::` or `self::` in a `use`. */
export function rustImports(file: string, text: string, known: readonly string[], folder: string): string[] {
  const code = text.split(/^#\[cfg\(test\)\]$/m)[0]?.replace(/\/\/.*$|\bpub\(in [^)]*\)/gm, '') ?? ''
  const within = file.slice(folder.length + 1).replace(/(\/mod)?\.rs$/, '')
  const own = within === 'lib' ? [] : within.split('/')
  const uses = [...code.matchAll(/^(?:pub(?:\([^)]*\))? )?use ((?:crate|super|self)::[^;]+);/gm)].map(
    ([, tree]) => tree ?? '',
  )
  const inline = [...code.matchAll(/\b(crate::[\w:]+)/g)].map(([, path]) => path ?? '')
  const found = new Set<string>()
  for (const path of [...uses.flatMap(pathsOf), ...inline]) {
    const [first, ...rest] = path.split('::')
    const names = first === 'crate' ? rest : [...(first === 'super' ? own.slice(0, -1) : own), ...rest]
    // The longest part of the path that is a module; what comes after it are the module's items.
    for (let length = names.length; length >= 0; length--) {
      const stem = [folder, ...names.slice(0, length)].join('/')
      const target = [`${stem}.rs`, `${stem}/mod.rs`, `${stem}/lib.rs`].find((candidate) => known.includes(candidate))
      if (target === undefined) continue
      if (target !== file) found.add(target)
      break
    }
  }
  return [...found]
}

/** Groups of files of which each reaches each other one, by Tarjan's algorithm. */
export function circlesOf(imports: ReadonlyMap<string, readonly string[]>): string[][] {
  const index = new Map<string, number>()
  const lowest = new Map<string, number>()
  const stack: string[] = []
  const circles: string[][] = []
  const visit = (file: string): void => {
    index.set(file, index.size)
    lowest.set(file, index.get(file) as number)
    stack.push(file)
    for (const next of imports.get(file) ?? []) {
      if (!index.has(next)) visit(next)
      else if (!stack.includes(next)) continue
      lowest.set(file, Math.min(lowest.get(file) as number, lowest.get(next) as number))
    }
    if (lowest.get(file) !== index.get(file)) return
    const circle = stack.splice(stack.indexOf(file))
    if (circle.length > 1) circles.push(circle.sort())
  }
  for (const file of imports.keys()) if (!index.has(file)) visit(file)
  return circles
}
