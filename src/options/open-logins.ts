/** Logins that go over a network without TLS: whoever listens there can take them. */

import type { ResolvedOptions } from './types.js'

/** A login without TLS, by the option that would give it TLS. */
export interface OpenLogin {
  message: string
  remedy: string
}

const isLoopback = (host: string): boolean => /^(localhost|127(\.\d+){3}|\[?::1\]?)$/.test(host)

/** Of brokers, registries and token endpoints; not of those on this machine. */
export function openLogins({ kafka, schemaRegistry }: Pick<ResolvedOptions, 'kafka' | 'schemaRegistry'>): OpenLogin[] {
  const found: OpenLogin[] = []
  if ('brokers' in kafka && kafka.sasl && !kafka.ssl && Array.isArray(kafka.brokers)) {
    const open = kafka.brokers.filter((broker) => !isLoopback(broker.replace(/:\d+$/, '')))
    if (open.length > 0) {
      found.push({
        message: `the login of kafka.sasl goes to ${open.join(', ')} without TLS, and so do all messages`,
        remedy: 'set kafka.ssl, and take the port of the listener SASL_SSL',
      })
    }
  }
  const sasl = 'brokers' in kafka ? kafka.sasl : undefined
  for (const [option, login] of Object.entries({ 'kafka.sasl': sasl, 'schemaRegistry.auth': schemaRegistry.auth })) {
    if (!login || !('tokenUrl' in login) || !isOpen(new URL(login.tokenUrl))) continue
    const message = `the client's secret of ${option} goes to ${new URL(login.tokenUrl).host} without TLS`
    found.push({ message, remedy: `give an https URL in ${option}.tokenUrl` })
  }
  const urls = (schemaRegistry.urls ?? [schemaRegistry.url ?? '']).filter((url) => URL.canParse(url))
  const open = urls
    .map((url) => new URL(url))
    .filter((url) => isOpen(url) && (schemaRegistry.auth !== undefined || url.username !== ''))
  if (open.length > 0) {
    found.push({
      message: `the login of the schema registry goes to ${open.map(({ host }) => host).join(', ')} without TLS`,
      remedy: 'give an https URL in schemaRegistry',
    })
  }
  return found
}

const isOpen = ({ protocol, hostname }: URL) => protocol === 'http:' && !isLoopback(hostname)
