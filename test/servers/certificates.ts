import { execFileSync } from 'node:child_process'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { requireBinary } from './server-binary.ts'
import { privateFolder } from './server-process.ts'

const DAYS = '2'
const LEAF_SERVER = ['basicConstraints=CA:FALSE', 'extendedKeyUsage=serverAuth', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '']
const LEAF_CLIENT = ['basicConstraints=CA:FALSE', 'extendedKeyUsage=clientAuth', '']

/** Files in PEM form, made a moment ago and good for two days. All keys are on P-256. */
export interface Certificates {
  readonly dir: string
  /** The authority that signed `server` and `client`. */
  readonly caFile: string
  /** Valid for `localhost` and `127.0.0.1`. */
  readonly serverCertFile: string
  readonly serverKeyFile: string
  readonly clientCertFile: string
  readonly clientKeyFile: string
  /** An authority that signed nothing here: trusting only this one must make a client refuse the server. */
  readonly foreignCaFile: string
}

/** Makes a certificate authority, a server and a client certificate with the `openssl` command. */
export function certificates(): Certificates {
  const dir = privateFolder('certificates')
  const openssl = requireBinary('openssl', 'openssl')
  const run = (...args: readonly string[]): void => {
    execFileSync(openssl, args, { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'], timeout: 30_000 })
  }
  const authority = (name: string): void => {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', `${name}-key.pem`]
    run('req', '-x509', ...key, '-out', `${name}.pem`, '-days', DAYS, '-subj', `/CN=trunkline test ${name}`)
  }
  const leaf = (name: string, extensions: readonly string[]): void => {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', `${name}-key.pem`]
    writeFileSync(join(dir, `${name}.cnf`), extensions.join('\n'))
    run('req', '-new', ...key, '-out', `${name}.csr`, '-subj', `/CN=trunkline test ${name}`)
    const signer = ['-CA', 'ca.pem', '-CAkey', 'ca-key.pem', '-CAcreateserial']
    run('x509', '-req', '-in', `${name}.csr`, ...signer, '-out', `${name}.pem`, '-days', DAYS, '-extfile', `${name}.cnf`)
    // RabbitMQ and PostgreSQL read it under their own account where the tests run as root.
    chmodSync(join(dir, `${name}-key.pem`), 0o644)
  }
  authority('ca')
  authority('foreign')
  leaf('server', LEAF_SERVER)
  leaf('client', LEAF_CLIENT)
  chmodSync(dir, 0o755)
  const file = (name: string): string => join(dir, name)
  return {
    dir,
    caFile: file('ca.pem'),
    serverCertFile: file('server.pem'),
    serverKeyFile: file('server-key.pem'),
    clientCertFile: file('client.pem'),
    clientKeyFile: file('client-key.pem'),
    foreignCaFile: file('foreign.pem'),
  }
}
