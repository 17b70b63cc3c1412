export function installedKafka(): string | null
export function ensureKafka(): Promise<{ jars: string } | { missing: string }>
