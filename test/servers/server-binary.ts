import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

// Where systems put servers that an ordinary PATH does not list.
const MORE_FOLDERS = ['/usr/sbin', '/usr/local/sbin', '/usr/local/bin', '/opt/homebrew/bin', '/opt/homebrew/sbin']

/** The full path of a program: the first of `candidates` that exists, else `name` in PATH and the usual server folders. */
export function findBinary(name: string, candidates: readonly string[] = []): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== ''), ...MORE_FOLDERS]
  return [...candidates, ...folders.map((folder) => join(folder, name))].find(isExecutable)
}

/** As `findBinary`, but a program that is absent is an error that says how to get it: tests are never skipped for it. */
export function requireBinary(name: string, debianPackage: string, candidates: readonly string[] = []): string {
  const found = findBinary(name, candidates)
  if (found !== undefined) return found
  throw new Error(
    `${name} is not installed, and these tests need it. Run: sudo apt-get install -y --no-install-recommends ${debianPackage} (npm test does it where it may)`,
  )
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
