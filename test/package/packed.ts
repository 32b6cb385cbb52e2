import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { privateFolder } from '../servers/server-process.ts'

const run = promisify(execFile)

const rootDir = dirname(dirname(import.meta.dirname))
const modulesDir = join(rootDir, 'node_modules')
const SHIPPED = ['package.json', 'src', 'docs', 'examples', 'README.md', 'LICENSE', 'CHANGELOG.md', 'CONTRIBUTING.md', 'tsconfig.json', 'tsconfig.build.json']

/** The library as it would be published, built away from the working tree so that nothing disturbs anybody. */
export interface PackedLibrary {
  readonly tarball: string
  /** Paths in the tarball, without npm's `package/`. */
  readonly files: readonly string[]
}

/** Builds and packs the library. */
export async function packLibrary(): Promise<PackedLibrary> {
  const dir = privateFolder('pack')
  for (const name of SHIPPED) {
    if (existsSync(join(rootDir, name))) cpSync(join(rootDir, name), join(dir, name), { recursive: true })
  }
  symlinkSync(modulesDir, join(dir, 'node_modules'))
  await tool('tsc', ['-p', 'tsconfig.build.json'], dir)
  const { stdout } = await tool('npm', ['pack', '--json', '--ignore-scripts'], dir)
  const [packed]: readonly { readonly filename: string; readonly files: readonly { readonly path: string }[] }[] = JSON.parse(stdout)
  if (packed === undefined) throw new Error(`npm pack told nothing: ${stdout}`)
  return { tarball: join(dir, packed.filename), files: packed.files.map(({ path }) => path) }
}

/** As strict as a user's project may be. */
const STRICT_OPTIONS = {
  target: 'es2023', lib: ['es2024', 'esnext.disposable'], module: 'nodenext', moduleResolution: 'nodenext', strict: true, exactOptionalPropertyTypes: true,
  declaration: true, types: ['node'],
}

/** A user's project with the packed library installed in it. */
export class Consumer {
  readonly dir: string
  readonly #tarball: string
  #peers: readonly string[] = []

  constructor(tarball: string) {
    this.dir = privateFolder('consumer')
    this.#tarball = tarball
  }

  /** Installs the library with exactly these packages beside it. They are linked from this repository, so no registry is asked. */
  async install(peers: readonly string[]): Promise<void> {
    this.#peers = peers
    rmSync(join(this.dir, 'node_modules'), { recursive: true, force: true })
    rmSync(join(this.dir, 'package-lock.json'), { force: true })
    // The library's own dependencies: linked from here they satisfy its exact versions.
    const manifest: { readonly dependencies: object } = JSON.parse(readFileSync(join(rootDir, 'package.json'), 'utf8'))
    const linked = Object.fromEntries([...Object.keys(manifest.dependencies), ...peers].map((name) => [name, `file:${join(modulesDir, name)}`]))
    this.write('package.json', JSON.stringify({ name: 'consumer', private: true, type: 'module', dependencies: { ...linked, trunkline: `file:${this.#tarball}` } }))
    await tool('npm', ['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund', '--install-links=false'], this.dir)
  }

  /** Names of the packages that are installed, the library apart. */
  get peers(): readonly string[] {
    return this.#peers
  }

  write(name: string, text: string): void {
    const path = join(this.dir, name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }

  /** Runs a module of JavaScript in the project and gives what it printed, read as JSON. */
  async evaluate<T>(source: string): Promise<T> {
    this.write('program.mjs', source)
    const { stdout } = await tool(process.execPath, ['program.mjs'], this.dir)
    return JSON.parse(stdout)
  }

  /** Names of the packages under node_modules that importing a specifier loads. */
  async packagesLoadedBy(specifier: string): Promise<readonly string[]> {
    const hook = `
      import { registerHooks } from 'node:module'
      const urls = []
      registerHooks({ load(url, context, next) { urls.push(url); return next(url, context) } })
      await import(${JSON.stringify(specifier)})
      const builtIns = process.moduleLoadList.filter((name) => / (sqlite|internal\\/sqlite)$/.test(name)).map(() => 'node:sqlite')
      const names = urls.map((url) => /.*\\/node_modules\\/((?:@[^/]+\\/)?[^/]+)\\//.exec(url)?.[1] ?? (url.startsWith('node:') ? '' : url))
      console.log(JSON.stringify([...new Set([...names, ...urls.filter((url) => url === 'node:sqlite'), ...builtIns])].filter((name) => name !== '').sort()))
    `
    return await this.evaluate(hook)
  }

  /** Type-checks a file of the project, declarations of the library included; gives the complaints. */
  async typeCheck(source: string, given: object = STRICT_OPTIONS): Promise<string> {
    this.write('consumer.ts', source)
    const compilerOptions = { ...given, skipLibCheck: false, noEmit: true, typeRoots: [join(modulesDir, '@types')] }
    this.write('tsconfig.json', JSON.stringify({ compilerOptions, files: ['consumer.ts'] }))
    try {
      await tool('tsc', ['--noEmit', '-p', 'tsconfig.json'], this.dir)
      return ''
    } catch (error) {
      return String(error)
    }
  }

  /** The version that the installed library says it has. */
  installedVersion(): string {
    const manifest: { readonly version: string } = JSON.parse(readFileSync(join(this.dir, 'node_modules/trunkline/package.json'), 'utf8'))
    return manifest.version
  }
}

/** Runs a tool of this repository in another folder. */
export async function tool(command: string, args: readonly string[], cwd: string): Promise<{ readonly stdout: string }> {
  const path = `${join(modulesDir, '.bin')}${delimiter}${process.env['PATH'] ?? ''}`
  try {
    return await run(command, args, { cwd, env: { ...process.env, PATH: path }, timeout: 120_000, maxBuffer: 16 * 1024 * 1024 })
  } catch (cause) {
    // Most of these tools complain on standard output, which a failed child process does not show.
    const output = cause instanceof Error && 'stdout' in cause ? String(cause.stdout).slice(0, 4_000) : ''
    throw new Error(`${command} ${args.join(' ')}\n${output}`, { cause })
  }
}
