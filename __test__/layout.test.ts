/** Holds the imports of the code against the table of rooms in docs/architecture.md, and looks for circles. */

import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { circlesOf, rustImports, typeScriptImports } from './helpers/imports.js'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Files of the engine that stand in a circle of modules. The aim is 0: lower this whenever a circle is opened. */
const RUST_FILES_IN_CIRCLES = 27

interface Room {
  name: string
  mayImport: string[]
}

function roomsOfDocument(): Room[] {
  const text = readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8')
  const section = text.split(/^## /m).find((part) => part.startsWith('The rooms of `src/`')) ?? ''
  const rows = section.split('\n').filter((line) => line.startsWith('| `'))
  return rows.map((row) => {
    const [, name = '', , imports = ''] = row.split('|').map((cell) => cell.trim())
    const names = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map(([, found]) => found as string)
    return { name: names(name)[0] as string, mayImport: names(imports) }
  })
}

function filesBelow(folder: string, ending: string): string[] {
  const entries = readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
}

const ROOMS = roomsOfDocument()
const FILES = filesBelow('src', '.ts')
const IMPORTS = new Map(
  FILES.map((file) => [file, typeScriptImports(file, readFileSync(join(ROOT, file), 'utf8'), FILES)]),
)

/** The room of a file: the longest name that is the file's own or that of a folder above it. */
function roomOf(file: string): Room | undefined {
  const within = file.slice('src/'.length)
  const found = ROOMS.filter(({ name }) => within === name || within.startsWith(`${name}/`))
  return found.sort((a, b) => b.name.length - a.name.length)[0]
}

test('every room of src has a row in docs/architecture.md, and every row a room', (t) => {
  t.deepEqual(
    FILES.filter((file) => roomOf(file) === undefined),
    [],
    'files without a room',
  )
  t.deepEqual(
    ROOMS.filter((room) => !FILES.some((file) => roomOf(file) === room)).map(({ name }) => name),
    [],
    'rooms without files',
  )
})

test('rooms stand in order: each may import only rooms further up', (t) => {
  const wrong = ROOMS.flatMap(({ name, mayImport }, at) =>
    mayImport.filter((other) => !ROOMS.slice(0, at).some((above) => above.name === other)).map((o) => `${name}: ${o}`),
  )
  t.deepEqual(wrong, [])
})

test('every import of src is one that docs/architecture.md allows', (t) => {
  const wrong: string[] = []
  for (const [file, imports] of IMPORTS) {
    const room = roomOf(file)
    for (const imported of imports) {
      const other = roomOf(imported)
      if (!room || !other || room === other || room.mayImport.includes(other.name)) continue
      wrong.push(`${file} imports ${imported}, but ${room.name} may not import ${other.name}`)
    }
  }
  t.deepEqual(wrong, [])
})

test('no files of src import each other in a circle', (t) => {
  t.true(FILES.length > 100)
  t.deepEqual(circlesOf(IMPORTS), [])
})

test('no more modules of the crates use each other in a circle than are known', (t) => {
  const sources = readdirSync(join(ROOT, 'crates')).map((crate) => `crates/${crate}/src`)
  const circles = sources.flatMap((folder) => {
    const files = filesBelow(folder, '.rs')
    const read = (file: string) => readFileSync(join(ROOT, file), 'utf8')
    return circlesOf(new Map(files.map((file) => [file, rustImports(file, read(file), files, folder)])))
  })
  const shown = circles.map((circle) => circle.map((file) => relative('crates', file)).join(', '))
  t.true(circles.flat().length <= RUST_FILES_IN_CIRCLES, `${circles.flat().length} files:\n${shown.join('\n')}`)
})
