import { join } from 'node:path'
import { freePort } from '../servers/free-port.ts'
import { acceptsConnections, privateFolder, ServerProcess } from '../servers/server-process.ts'

/** Prepares a double that is a process of its own with a log in a file, so that it can be killed; call `start()`. */
export async function doubleProcess(options: { readonly isSynced?: boolean; readonly keepAliveMs?: number } = {}): Promise<ServerProcess> {
  const port = await freePort()
  const dir = privateFolder('esdb')
  const main = join(import.meta.dirname, 'main.ts')
  return new ServerProcess({
    name: 'esdb-double',
    port,
    url: `esdb://127.0.0.1:${port}`,
    dir,
    command: process.execPath,
    args: [
      main, '--port', `${port}`, '--data', join(dir, 'data'), '--keep-alive-ms', `${options.keepAliveMs ?? 2_000}`, ...(options.isSynced === true ? ['--sync'] : []),
    ],
    stopSignal: 'SIGTERM',
    startMs: 20_000,
    ready: async () => await acceptsConnections(port),
    tooEarly: /EADDRINUSE/,
  })
}
