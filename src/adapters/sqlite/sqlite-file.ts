import { closeSync, existsSync, mkdirSync, openSync, statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { TrunklineError } from '../../core/errors.ts'
import { text } from './sqlite-connection.ts'
import type { SqliteConnection } from './sqlite-connection.ts'

/**
 * Kinds of file systems, as `statfs` on Linux numbers them, on which the shared memory of WAL does not
 * work between machines (L-06): NFS, SMB 1 to 3, 9p, FUSE, Ceph, AFS, Lustre, GFS2, OCFS2, VirtualBox.
 */
const NETWORK_FILE_SYSTEMS: ReadonlySet<number> = new Set([
  0x6969, 0x517b, 0xff534d42, 0xfe534d42, 0x01021997, 0x65735546, 0x00c36400, 0x5346414f, 0x6b414653,
  0x0bd00bd0, 0x01161970, 0x7461636f, 0x786f4256,
])

/** True for the number of a file system that other machines may write to at the same time. */
export function isNetworkFileSystem(type: number): boolean {
  return NETWORK_FILE_SYSTEMS.has(type)
}

/**
 * Makes the file and its directory where they are missing, readable by their owner alone. An existing
 * file keeps its mode: who else may read it is its owner's decision.
 *
 * @throws `bus.unsupported` where the directory is on a network file system and that was not allowed.
 */
export function prepareFile(file: string, isNetworkAllowed: boolean): void {
  const directory = dirname(file)
  makeDirectory(directory)
  if (!isNetworkAllowed && process.platform === 'linux' && isNetworkFileSystem(statfsSync(directory).type)) {
    throw new TrunklineError('bus.unsupported', {
      adapter: 'sqlite',
      capability: 'a file on a network file system',
      needed: 'a local disk, or `networkFile: "allow"` where surely one machine alone uses the file',
    })
  }
  closeSync(openSync(file, 'a', 0o600))
}

/** Not `recursive`: with that Node never comes back where a directory answers ENOENT to a new child, as those of /proc do. */
function makeDirectory(directory: string): void {
  if (existsSync(directory)) return
  makeDirectory(dirname(directory))
  try {
    mkdirSync(directory, 0o700)
  } catch (error) {
    // Another process may have been faster.
    if (!existsSync(directory)) throw error
  }
}

/**
 * True for versions of SQLite that are free of the WAL-reset bug (L-01): two connections that write and
 * checkpoint could lose commits from 3.7.0 to 3.51.2, except for the corrected 3.50.7 and 3.44.6; 3.52.0 was withdrawn.
 */
export function isSafeVersion(version: string): boolean {
  const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number)
  if (major !== 3) return major > 3
  if (minor === 44) return patch >= 6
  if (minor === 50) return patch >= 7
  if (minor === 51) return patch >= 3
  return minor > 52 || (minor === 52 && patch > 0)
}

/** @throws `bus.unsupported` where this SQLite can lose commits of several connections. */
export function checkVersion(connection: SqliteConnection): void {
  const row = connection.row('SELECT sqlite_version() AS version')
  const version = row === undefined ? '' : text(row, 'version')
  if (isSafeVersion(version)) return
  throw new TrunklineError('bus.unsupported', {
    adapter: 'sqlite',
    capability: `several connections to one file with SQLite ${version}`,
    needed: 'SQLite 3.51.3 or newer (or 3.50.7, 3.44.6), which a newer Node or better-sqlite3 brings along; or `processes: "one"`',
  })
}
