/** Posts a connector to Kafka Connect: `node connector.mjs FILE`. Placeholders come from the environment. */

import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

const { CONNECT_URL, TOPIC_PREFIX } = process.env
const text = readFileSync(process.argv[2], 'utf8').replace(/\$\{(\w+)\}/g, (_, name) => {
  if (process.env[name] === undefined) throw new Error(`${name} is not set`)
  return process.env[name]
})
const body = JSON.stringify(JSON.parse(text).config)

for (let tries = 1; ; tries++) {
  try {
    const response = await fetch(`${CONNECT_URL}/connectors/${TOPIC_PREFIX}/config`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body,
    })
    if (response.ok) break
    if (response.status < 500 && response.status !== 409) throw new Error(await response.text(), { cause: 'refused' })
    throw new Error(`${response.status} ${await response.text()}`)
  } catch (error) {
    if (error.cause === 'refused' || tries === 90) throw error
    await sleep(2000)
  }
}
console.log(`connector ${TOPIC_PREFIX} is there`)
