export const HOST: string
export const PORTS: Record<'kafka' | 'controller' | 'registry' | 'connect' | 'postgres' | 'mariadb' | 's3', number>
export const ENDPOINTS: Record<
  | 'KAFKA_BOOTSTRAP'
  | 'REGISTRY_URL'
  | 'REGISTRY_API_URL'
  | 'CONNECT_URL'
  | 'MARIADB_DB'
  | 'MARIADB_USER'
  | 'MARIADB_PASSWORD'
  | 'POSTGRES_USER'
  | 'POSTGRES_PASSWORD'
  | 'S3_ENDPOINT'
  | 'S3_ACCESS_KEY'
  | 'S3_SECRET_KEY'
  | 'S3_BUCKET',
  string
>
