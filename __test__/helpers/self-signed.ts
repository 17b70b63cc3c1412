import { spawnSync } from 'node:child_process'

/** Of the stores that are made here. */
export const STORE_PASSWORD = 'changeit'

/** Makes a key for a server on the loopback interface, in a PKCS 12 file of its own. Gives its certificate: PEM. */
export function selfSigned(file: string): string {
  const keytool = (...args: string[]) => {
    const access = ['-keystore', file, '-storetype', 'PKCS12', '-storepass', STORE_PASSWORD, '-alias', 'server']
    const { status, stdout, stderr } = spawnSync('keytool', [...args, ...access], { encoding: 'utf8' })
    if (status !== 0) throw new Error(`keytool: ${stdout}${stderr}`)
    return stdout
  }
  keytool('-genkeypair', '-keyalg', 'RSA', '-dname', 'CN=server', '-ext', 'SAN=ip:127.0.0.1', '-validity', '10')
  return keytool('-exportcert', '-rfc')
}
