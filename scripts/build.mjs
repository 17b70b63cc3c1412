/**
 * `npm run build`: compiles src/ to dist/ and puts the addon beside it, which tsc does not copy.
 *
 *   --without-binary   leaves the .node file out: published packages get theirs from a package per platform
 */

import { chmodSync, copyFileSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { bootstrap, checkNode, ensureDependencies } from './bootstrap.mjs'
import { ROOT } from './lib/paths.mjs'
import { main, Problem, run } from './lib/process.mjs'

await main(async () => {
  const withBinary = !process.argv.includes('--without-binary')
  if (withBinary) await bootstrap()
  else {
    checkNode()
    await ensureDependencies()
  }
  const src = join(ROOT, 'src')
  const dist = join(ROOT, 'dist')
  const natives = readdirSync(src).filter((name) =>
    withBinary ? /^native\.|\.node$/.test(name) : /^native\./.test(name),
  )
  if (!natives.includes('native.cjs')) throw new Problem('src/native.cjs is missing: npm run build:addon')
  rmSync(dist, { recursive: true, force: true })
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
  const { code } = await run(process.execPath, [tsc, '-p', 'tsconfig.build.json'], { cwd: ROOT })
  if (code !== 0) throw new Problem('tsc found errors')
  for (const name of natives) copyFileSync(join(src, name), join(dist, name))
  chmodSync(join(dist, 'cli', 'main.js'), 0o755)
  console.log(`dist/ is built, with ${natives.join(', ')}`)
})
