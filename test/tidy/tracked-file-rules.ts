// Built from parts, so that this file does not hold what it looks for.
const MACHINE_FOLDERS = ['work', 'root', 'home', 'Users'].map((name) => `/${name}/`)
const PUBLIC_REGISTRY = 'registry.npmjs.org'

/** Absolute paths of somebody's machine. */
export function machinePathComplaints(path: string, text: string): readonly string[] {
  const pattern = new RegExp(`(?<![\\w.\\-/\${}])(?:${MACHINE_FOLDERS.join('|')})`)
  return linesWith(text, (line) => pattern.test(line)).map((line) => `${path}:${line} names a folder of one machine`)
}

/** Package registries other than the public one, and npm settings that name one. */
export function registryComplaints(path: string, text: string): readonly string[] {
  const isOther = (line: string): boolean => {
    const host = /https?:\/\/([\w.:-]*(?:registry|verdaccio|artifactory|nexus|npm)[\w.:-]*)/i.exec(line)?.[1]
    const isSetting = /^\s*(?:@[\w-]+:)?registry\s*=/.test(line)
    return isSetting || (host !== undefined && host !== PUBLIC_REGISTRY && host !== 'www.npmjs.com' && host !== 'docs.npmjs.com')
  }
  return linesWith(text, isOther).map((line) => `${path}:${line} names a package registry`)
}

/** Tarballs of the lock file that do not come from the public registry, and packages without a checksum. */
export function lockComplaints(lockFile: string): readonly string[] {
  const lock: { readonly packages: Readonly<Record<string, { readonly resolved?: string; readonly integrity?: string; readonly link?: boolean }>> } =
    JSON.parse(lockFile)
  return Object.entries(lock.packages).flatMap(([name, entry]) => {
    if (name === '') return []
    const isPublic = entry.resolved === undefined || entry.resolved.startsWith(`https://${PUBLIC_REGISTRY}/`)
    if (!isPublic || entry.link === true) return [`${name} comes from elsewhere: ${entry.resolved ?? 'a link'}`]
    return entry.integrity === undefined ? [`${name} has no checksum`] : []
  })
}

/** Ranges among the dependencies that decide what is installed here. Peers keep their ranges: they are the user's. */
export function unpinnedComplaints(manifest: string): readonly string[] {
  const parsed: Readonly<Record<string, Readonly<Record<string, string>> | undefined>> = JSON.parse(manifest)
  const ranges = Object.entries({ ...parsed['dependencies'], ...parsed['devDependencies'] })
  return ranges.filter(([, range]) => !/^\d+\.\d+\.\d+$/.test(range)).map(([name, range]) => `${name} is not pinned: ${range}`)
}

function linesWith(text: string, isBad: (line: string) => boolean): readonly number[] {
  return text.split('\n').flatMap((line, at) => (isBad(line) ? [at + 1] : []))
}
